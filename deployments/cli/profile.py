"""`stageline profile` and `stageline stacks`: what a server's processes are doing, while they do it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from deployments.cli.admin_client import KeyOption, UrlOption, admin_url, ask_admin
from deployments.cli.control import PortOption
from deployments.profiles.ask import GRACE_S, MOST_SECONDS
from deployments.profiles.merge import MERGE_S
from deployments.sizes import format_size
from engine.errors import EngineFailed, InvalidRequest

SPAN = b'"ph":"X"'  # in a trace in which anything happened
_TICK_S = 0.1


def profile(
    seconds: Annotated[float, typer.Option(help=f"How long to look, at most {MOST_SECONDS:.0f}.")] = 5.0,
    model: Annotated[str | None, typer.Option(help="Of which model; else whichever has the most to do.")] = None,
    variant: Annotated[str | None, typer.Option(help="Of which variant.")] = None,
    replica: Annotated[
        str | None, typer.Option(help="Which replica: its id, or how that begins, or its process id (see `top`).")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Where the trace goes; gzipped where the name ends in .gz.", dir_okay=False)
    ] = Path("trace.json"),
    port: PortOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Take a profile of a replica and all its stages while they serve: a trace for ui.perfetto.dev or chrome://tracing.

    A row for each process, on one clock: engine steps, batches of the pipeline with arrows from stage to stage, and the
    operators below them, our own kernels' too. Nothing is stopped; while it is taken, steps are somewhat slower.
    """
    console = Console(stderr=True)
    asked = {"seconds": seconds, "model": model, "variant": variant, "replica": replica}
    body = {name: value for name, value in asked.items() if value is not None}
    trace = _with_progress(console, seconds, admin_url(url, port), body, api_key)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".gz":
        import gzip

        out.write_bytes(gzip.compress(trace, compresslevel=5))
    else:
        out.write_bytes(trace)
    if SPAN not in trace:
        console.print("It computed nothing in that time: ask it something meanwhile, or look longer (--seconds).")
    console.print(f"{out}: {format_size(out.stat().st_size)}. Open it at https://ui.perfetto.dev", highlight=False)


def stacks(port: PortOption = None, url: UrlOption = None, api_key: KeyOption = None) -> None:
    """Show where all threads of the front door, the replicas and their stages are at this moment."""
    for name, text in ask_admin(admin_url(url, port), "admin/stacks", api_key)["processes"].items():
        typer.echo(f"===== {name}\n{text}\n")


def _with_progress(console: Console, seconds: float, address: str, body: dict[str, Any], key: str | None) -> bytes:
    """Asks on a thread of its own and shows how far it is; being interrupted leaves the server to end it alone."""
    outcome: list[bytes | BaseException] = []

    def ask() -> None:
        try:
            outcome.append(_ask(address, body, seconds, key))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}")
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Getting ready and looking", total=seconds, left="")
        began = time.monotonic()
        while thread.is_alive():
            passed = time.monotonic() - began
            if passed < seconds:
                progress.update(task, completed=passed, left=f"{seconds - passed:.0f} s")
            else:
                progress.update(task, total=None, left="", description="Joining what the processes tell")
            thread.join(_TICK_S)
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result


def _ask(address: str, body: dict[str, Any], seconds: float, key: str | None) -> bytes:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        response = httpx.post(
            f"{address}/admin/profile", json=body, headers=headers, timeout=seconds + GRACE_S + MERGE_S
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EngineFailed(f"Nothing answers operators at {address}: {error}.") from error
    if response.status_code == 200:
        return response.content
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"{address} answers HTTP {response.status_code}."
    if response.status_code == 400:
        raise InvalidRequest(message)
    raise EngineFailed(message)
