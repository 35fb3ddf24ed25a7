"""`stageline serve`: everything from a configuration file to a ready server, and back to nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cluster.node import RayNode, available_cores, free_ports, joined_cluster, local_node, node_temp_dir
from cluster.nodes.entering import enter
from deployments.access.exposure import check_access
from deployments.cli.cluster_state import ClusterState, local_cluster_at
from deployments.cli.fetch import ConfigArgument, fetch_models
from deployments.cli.signals import Stopped, StopSignals, stopping
from deployments.cli.state import StateFile, clear_leftovers, registered, running_servers
from deployments.logs import set_up
from deployments.serving import application, local_environment, serve_switches, url_of
from deployments.settings import DEMO_CONFIG, EVERYWHERE, Access, Model, Settings, load_settings
from engine.errors import ConfigError

if TYPE_CHECKING:
    from deployments.variant_files import Judged, Key

_CHECK_S = 1.0


def serve(
    config: ConfigArgument = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at; 0.0.0.0 is all of them.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at.")] = None,
    admin_port: Annotated[
        int | None,
        typer.Option(help="Port for operators (`stageline why`, `top`, `profile`); else any free one."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Join this Ray cluster (host:port, auto, or local) instead of starting a node.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys (see `stageline keys`): every request needs one of them.")
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Serve anybody who reaches the host, without API keys.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Replace the Stageline that the cluster serves already.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for the replicas to become ready.")] = 600.0,
    allow_unmeasured: Annotated[
        bool, typer.Option("--allow-unmeasured", help="Serve quantized variants whose quality nobody measured.")
    ] = False,
    verbose: Annotated[bool, typer.Option(help="Show what Ray and the replicas log.")] = False,
) -> None:
    """Serve models until Ctrl-C, which ends everything that was started."""
    console = Console(stderr=True)
    if take_over and address is None:
        raise ConfigError(
            "--take-over replaces what a running cluster serves: name the cluster with --address (host:port, auto, or "
            "local).",
            param="take-over",
        )
    path = config or DEMO_CONFIG
    local = None if address is None else local_cluster_at(address)
    settings = load_settings(path).with_http(
        host=host, port=port, admin_port=admin_port, without_keys=without_keys or None
    )
    if keys is not None:
        settings = settings.model_copy(update={"access": Access(keys=str(keys.absolute()))})
    # A local cluster's network ends at this machine: nobody else reaches its nodes, whatever they listen at.
    check_access(settings, to_others=False if local is not None else None)
    if settings.http.admin_port is None:
        settings = settings.with_http(admin_port=free_ports(1)[0])
    if local is not None and host is None:
        # Its nodes are machines of their own: at their loopback address nobody here reaches them.
        reached = local.ip if settings.http.front_doors == 1 else EVERYWHERE
        settings = settings.with_http(host=reached, admin_host=reached)
    # What goes well is on the console already, in words of its own.
    set_up(settings.logs, "serve", level=None if verbose else "warning")
    with stopping() as signals:
        try:
            _serve(
                settings,
                path,
                signals,
                address=address,
                local=local,
                take_over=take_over,
                timeout_s=timeout,
                allow_unmeasured=allow_unmeasured,
                verbose=verbose,
                console=console,
            )
        except Stopped as stopped:
            console.print("Stopped.")
            raise typer.Exit(stopped.exit_status) from None


def _serve(
    settings: Settings,
    config: Path,
    signals: StopSignals,
    *,
    address: str | None,
    local: ClusterState | None,
    take_over: bool,
    timeout_s: float,
    allow_unmeasured: bool,
    verbose: bool,
    console: Console,
) -> None:
    import torch

    from deployments import preflight
    from deployments.variant_files import served_files
    from engine.kernels import build

    if address is None:
        clear_leftovers()
        _refuse_second_server(settings.http.port)
        preflight.check_port(settings.http)
        preflight.check_machine(settings, torch.cuda.device_count())
        preflight.check_front_doors(settings.http, nodes=1)
        settings = settings.with_cores(available_cores())
    paths = fetch_models(settings, console)
    preflight.check_models(settings, paths)
    judged = judge_variants(settings, paths, console, allow_unmeasured=allow_unmeasured)
    if address is None:
        warning = preflight.check_memory(settings, paths)
        if warning is not None:
            _warn(warning, console)
    prepare_variants(judged, console)
    files = served_files(settings, judged)
    verdicts = {key: one.verdict for key, one in judged.items()}
    # Where this very machine reaches it; a local cluster's head has the proxy that is sure to be there.
    own = None if local is None else local.ip
    url = url_of(settings.http.host, settings.http.port, own)
    assert settings.http.admin_port is not None
    admin_url = url_of(settings.http.admin_host, settings.http.admin_port, own)
    with ExitStack() as stack:
        state = stack.enter_context(registered(url, settings.http.port, str(config)))
        if address is None:
            with console.status("Compiling the CPU kernels ..."):
                # Here once, or every replica of the start would wait for the one that does. Found in the cache mostly.
                build.library()
        with console.status("Starting Ray ...") as spinner:
            node = stack.enter_context(_node(address, local, signals, verbose=verbose))
            state.update(admin_url=admin_url, ray_address=node.address, temp_dir=str(node.temp_dir or ""))
            if address is not None:
                preflight.check_front_doors(settings.http, nodes=node.nodes)
                settings = settings.with_cores(node.cores)
            from deployments.app import build_app

            stack.enter_context(
                application(
                    build_app(settings, files, verdicts, share=settings.reserved_share(node.cores)),
                    settings.http,
                    timeout_s=timeout_s,
                    leave_serve=address is None,
                    take_over=take_over,
                    report=lambda doing: spinner.update(f"{doing[0].upper()}{doing[1:]} ..."),
                    check=node.check,
                )
            )
        _wait_for_signal(settings, url, node, state, console)


def judge_variants(
    settings: Settings, paths: Mapping[str, Path], console: Console, *, allow_unmeasured: bool
) -> dict[Key, Judged]:
    """What the gate lets through, with its warnings on the console. Raises ConfigError for the rest."""
    from deployments.variant_files import judge

    judged = judge(settings, paths, allow_unmeasured=allow_unmeasured)
    for one in judged.values():
        if one.verdict.warning is not None:
            _warn(one.verdict.warning, console)
    return judged


def _warn(text: str, console: Console) -> None:
    console.print(f"[yellow]Warning:[/] {escape(text)}", highlight=False, soft_wrap=True)


def prepare_variants(judged: Mapping[Key, Judged], console: Console) -> None:
    """Has every variant's files in the cache, with a line that tells what is being made."""
    from deployments.variant_files import files_of

    with console.status("Looking for the variants' files ...") as spinner:
        files_of(judged, lambda doing: spinner.update(escape(doing)))


def _refuse_second_server(port: int) -> None:
    for server in running_servers():
        if server.port == port:
            raise ConfigError(
                f"Port {port} is taken by another Stageline (process {server.pid}): stop it with "
                f"`stageline stop --port {port}`, or choose another port with --port.",
                param="port",
            )


@contextmanager
def _node(address: str | None, local: ClusterState | None, signals: StopSignals, *, verbose: bool) -> Iterator[RayNode]:
    if local is not None:
        # A driver needs a raylet at its own address. What had to be fetched from outside is here by now.
        os.environ.update(local.environment)
        enter(local.head_namespace)
        address = local.address
    if address is not None:
        with signals.undisguised(), joined_cluster(address, serve_switches(), verbose=verbose) as node:
            signals.listen()
            yield node
        return
    with (
        node_temp_dir() as folder,
        signals.undisguised(),
        local_node(local_environment(folder), folder, verbose=verbose) as node,
    ):
        signals.listen()
        yield node


def _wait_for_signal(settings: Settings, url: str, node: RayNode, state: StateFile, console: Console) -> None:
    state.update(state="ready")
    console.print(banner(settings, url), highlight=False, soft_wrap=True)
    try:
        while True:
            node.check()
            time.sleep(_CHECK_S)
    except Stopped:
        console.print("\nStopping ...")
        raise


def banner(settings: Settings, url: str) -> str:
    """What is served and how to try it, in rich's markup."""
    lines = [f"\n[bold green]Ready[/] at [bold]{url}[/]  (API: {url}/v1, metrics: {url}/metrics)"]
    lines.append(f"A page to try and watch it: [bold]{url}/console[/]\n")
    for model in settings.models:
        variants = ", ".join(variant.name for variant in model.variants)
        lines.append(f"  [bold]{escape(model.name)}[/]  {model.task}  {variants}")
    shown: set[str] = set()
    lines += ["", "Try it:"]
    for model in settings.models:
        if model.task not in shown:
            shown.add(model.task)
            lines.append(f"  {escape(example(model, url))}")
    if "text-generation" in shown:
        lines.append("  stageline chat")
    return "\n".join([*lines, "", "Ctrl-C stops it."])


def example(model: Model, url: str) -> str:
    """A command that asks the model something."""
    stream, body = "", {}
    match model.task:
        case "text-generation":
            path, stream = "v1/chat/completions", "-N "
            messages = [{"role": "user", "content": "Hello!"}]
            body = {"model": model.name, "messages": messages, "max_tokens": 64, "stream": True}
        case "text-classification":
            path, body = "classify", {"model": model.name, "input": "My card has not arrived yet."}
        case "embedding":
            path, body = "v1/embeddings", {"model": model.name, "input": "My card has not arrived yet."}
        case "translation":
            source, target = model.pairs[0] if model.pairs else ("en", "de")
            text = "A man plays the guitar."
            path, body = "translate", {"q": text, "source": source, "target": target}
    return f"curl {stream}{url}/{path} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
