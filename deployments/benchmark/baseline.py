"""The way a team starts: a plain Ray Serve deployment around `transformers`, fp32, one request at a time.

`python -m deployments.benchmark.baseline [CONFIG] --port 9000` serves the first model of each task of a configuration,
from the same files as Stageline, until SIGINT or SIGTERM. It starts a Ray node of its own, or joins a cluster.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from rich.console import Console

from cluster.node import RayNode, available_cores, free_ports, joined_cluster, local_node, node_temp_dir
from deployments.cli.fetch import fetch_models
from deployments.cli.signals import Stopped, StopSignals, stopping
from deployments.serving import controller_runs
from deployments.settings import DEMO_CONFIG, Settings, load_settings
from engine.errors import ConfigError, EngineFailed, StagelineError

if TYPE_CHECKING:
    from ray.serve import RunTarget

TASKS = ("text-generation", "text-classification", "translation")
_POLL_S = 0.2


def environment() -> dict[str, str]:
    """Serve as it is without any switch, on ports of its own. Only the workers' low priority is taken away, which would
    be unfair on a machine that is shared."""
    fallback, autoscaler, dashboard = free_ports(3)
    return {
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "AUTOSCALER_METRIC_PORT": str(autoscaler),
        "DASHBOARD_METRIC_PORT": str(dashboard),
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def models_of(settings: Settings, console: Console) -> dict[str, Path]:
    """Files of the first model of each task, fetched where they are not yet here."""
    chosen = {task: next((one for one in settings.models if one.task == task), None) for task in TASKS}
    found = tuple(one for one in chosen.values() if one is not None)
    paths = fetch_models(settings.model_copy(update={"models": found}), console)
    return {one.task: paths[one.name] for one in found}


@contextmanager
def serving(wanted: Sequence[RunTarget], host: str, port: int, *, limit_s: float, leave_serve: bool) -> Iterator[None]:
    """The applications, ready; needs a connection to Ray. Raises `EngineFailed` when they are not after `limit_s`, and
    `ConfigError` where Serve runs already: with another's host, port and switches it would be another baseline, and
    what it serves is not ours to end.

    `leave_serve` leaves Serve to the end of the node, which is quicker.
    """
    from ray import serve

    from deployments.benchmark.baseline_app import HEALTH, health

    if controller_runs():
        raise ConfigError(
            "This cluster runs Ray Serve already: stop what it serves, or give the baseline a cluster of its own.",
            param="address",
        )
    deadline = time.monotonic() + limit_s
    serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
    try:
        # One after the other: a replica that tries out threads must not do so while another one loads. Health comes
        # last, when there is something to tell.
        for target in (*wanted, health()):
            serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
            while not _running():
                _wait(deadline, limit_s)
        while not _answers(f"http://{host}:{port}/health"):
            _wait(deadline, limit_s)
        yield
    finally:
        if not leave_serve:
            ours = {target.name for target in wanted} | {HEALTH}
            for name in ours & serve.status().applications.keys():
                serve.delete(name)
            if not serve.status().applications:
                serve.shutdown()


def _wait(deadline: float, limit_s: float) -> None:
    if time.monotonic() > deadline:
        raise EngineFailed(f"The baseline was not ready after {limit_s:.0f} s: {_states()}.")
    time.sleep(_POLL_S)


def _running() -> bool:
    from ray import serve

    states = [app.status for app in serve.status().applications.values()]
    if any(state in ("DEPLOY_FAILED", "UNHEALTHY") for state in states):
        raise EngineFailed(f"The baseline could not start: {_states()}.")
    return all(state == "RUNNING" for state in states)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def _states() -> str:
    from ray import serve

    return ", ".join(f"{name} {app.status}: {app.message}" for name, app in serve.status().applications.items())


def main(
    config: Annotated[Path | None, typer.Argument(help="Configuration file; the demo's if left out.")] = None,
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 8001,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    threads: Annotated[int, typer.Option(min=0, help="Threads of each replica; 0: as many as are the fastest.")] = 0,
    most: Annotated[int, typer.Option(min=0, help="The most threads that are tried; 0: the cores.")] = 0,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of each model, at most one on a node.")] = 1,
    cpus: Annotated[int, typer.Option(min=0, help="That each replica claims from Ray.")] = 0,
    address: Annotated[str | None, typer.Option(help="Join this Ray cluster instead of starting a node.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for the replicas to become ready.")] = 300.0,
) -> None:
    """Serve the plain baseline until SIGINT or SIGTERM, which end everything that was started."""
    console = Console(stderr=True)
    models = models_of(load_settings(config or DEMO_CONFIG), console)
    with stopping() as signals:
        try:
            with ExitStack() as stack:
                node = stack.enter_context(_node(address, signals))
                from deployments.benchmark.baseline_app import targets

                with signals.undisguised():
                    stack.enter_context(
                        serving(
                            targets(
                                models, threads=threads, most=most or available_cores(), replicas=replicas, cpus=cpus
                            ),
                            host,
                            port,
                            limit_s=timeout,
                            leave_serve=address is None,
                        )
                    )
                print(json.dumps({"ready": f"http://{host}:{port}", "threads": threads}), flush=True)
                while True:
                    node.check()
                    time.sleep(1.0)
        except Stopped as stopped:
            raise typer.Exit(stopped.exit_status) from None
        except StagelineError as error:
            console.print(f"Error: {error}", style="red", markup=False, highlight=False)
            raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None


@contextmanager
def _node(address: str | None, signals: StopSignals) -> Iterator[RayNode]:
    with ExitStack() as stack:
        folder = stack.enter_context(node_temp_dir()) if address is None else None
        stack.enter_context(signals.undisguised())
        kind: Any = local_node(environment(), folder) if folder is not None else joined_cluster(address or "", {})
        node = stack.enter_context(kind)
        signals.listen()
        yield node


if __name__ == "__main__":
    typer.run(main)
