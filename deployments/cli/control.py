"""`stageline status` and `stageline stop`."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import Annotated, Any

import httpx
import psutil
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.node import has_ended
from deployments.cli.chat import bearer
from deployments.cli.state import ServerState, find_server
from deployments.sizes import format_size
from engine.errors import EngineFailed

_POLL_S = 0.1

PortOption = Annotated[int | None, typer.Option(help="Which server, where several run.")]


def status(
    port: PortOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show what is served: models, variants, replicas, load."""
    server = find_server(port)
    models = [] if server.state == "starting" else _ask(server)
    if as_json:
        shown = {"url": server.url, "pid": server.pid, "state": server.state, "config": server.config, "models": models}
        typer.echo(json.dumps(shown))
        return
    console = Console()
    console.print(f"{server.url}  process {server.pid}  {server.state}", highlight=False)
    if models:
        console.print(status_table(models))


def stop(
    port: PortOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for its end.")] = 120.0,
) -> None:
    """Stop a server that runs on this machine."""
    server = find_server(port)
    process = server.process()
    if process is None:
        return  # it ended between being found and now
    with suppress(psutil.NoSuchProcess):
        process.terminate()
    deadline = time.monotonic() + timeout
    while not has_ended(process):
        if time.monotonic() > deadline:
            raise EngineFailed(
                f"The server at {server.url} (process {server.pid}) has not ended after {timeout:.0f} s."
            )
        time.sleep(_POLL_S)
    typer.echo(f"Stopped {server.url}.")


def status_table(models: list[dict[str, Any]]) -> Table:
    """One line for each replica, and one for each of its stages; a variant without any still has one."""
    titles = ("model", "variant", "state", "replica", "running", "waiting", "KV cache", "tokens/s")
    table = Table(*titles, box=None, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    processes = [
        process
        for model in models
        for variant in model["variants"]
        for replica in variant["replicas"]
        for process in (replica, *replica.get("stages", ()))
    ]
    apart = len({process["node"] for process in processes if process.get("node")}) > 1
    for model in models:
        for variant in model["variants"]:
            for replica in variant["replicas"] or [{}]:
                table.add_row(
                    escape(model["name"]),
                    variant["name"],
                    replica.get("state") or variant["state"],
                    _place(replica, apart),
                    *(str(replica.get(key, "")) for key in ("running", "waiting")),
                    _shown(replica.get("kv_cache_usage"), "{:.0%}"),
                    _shown(replica.get("tokens_per_s"), "{:.1f}"),
                )
                for stage in replica.get("stages", ()):
                    table.add_row("", *stage_cells(stage, apart))
                if replica.get("bubble") is not None:
                    table.add_row("", f"  bubble {replica['bubble']:.0%}")
    return table


def stage_cells(stage: dict[str, Any], apart: bool) -> tuple[str, ...]:
    """A stage's line, from the second column on: how it spends its time stands where its replica has requests, its
    memory where that has the cache."""
    return (
        f"  {stage['index']}: layers {stage['layers']}",
        stage["state"],
        _place(stage, apart),
        f"{stage['busy']:.0%} busy",
        f"{stage['waiting']:.0%} waits",
        format_size(stage["memory_bytes"]),
        f"replaced {stage['restarts']}x" if stage["restarts"] else "",
    )


def _place(process: dict[str, Any], apart: bool) -> str:
    """What tells a replica or stage from others: its id, and its node where they are on several."""
    name, node = process.get("id") or process.get("pid", ""), process.get("node")
    return f"{name}@{node}" if node and apart else str(name)


def _shown(number: float | None, form: str) -> str:
    return "" if number is None else form.format(number)


def _ask(server: ServerState) -> list[dict[str, Any]]:
    try:
        response = _status_of(server)
        response.raise_for_status()
        models = response.json()["models"]
        assert isinstance(models, list)
        return models
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise EngineFailed(f"The server at {server.url} does not answer: {error}.") from error


def _status_of(server: ServerState) -> httpx.Response:
    """Asked at the operators' port, which wants no key for it; or, where that is another node's, as any caller."""
    if server.admin_url:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{server.admin_url}/status", timeout=10.0)
    headers = bearer(os.environ.get("STAGELINE_API_KEY"))
    return httpx.get(f"{server.url}/status", timeout=10.0, headers=headers)
