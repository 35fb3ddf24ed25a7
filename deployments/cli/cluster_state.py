"""Which local clusters run on this machine, and how their owners are asked to do something with their nodes.

Each has a small file beside the servers' and a Unix socket in its folder, which only its user can open: one request of
JSON a connection, one answer.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from cluster.node import has_ended
from deployments.cli.state import run_dir
from engine.errors import ConfigError, EngineFailed, StagelineError

_LIMIT_S = 180.0  # for the longest thing that is asked for: a head that starts


@dataclass(frozen=True, slots=True)
class ClusterState:
    """One `stageline cluster up`. `namespaces` are those of the nodes by name; `environment` makes a process one of the
    cluster's drivers."""

    pid: int
    created: float
    address: str
    control: str
    namespaces: dict[str, str]
    environment: dict[str, str]

    @property
    def ip(self) -> str:
        """The head's."""
        return self.address.partition(":")[0]

    @property
    def head_namespace(self) -> str:
        return self.namespaces["head"]

    def runs(self) -> bool:
        """Whether its owner lives."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.created and not has_ended(process)
        except psutil.NoSuchProcess:
            return False

    def ask(self, action: str, **arguments: Any) -> Any:
        """Let the owner do something. Raises `ConfigError` or `EngineFailed` with its words."""
        request = json.dumps({"action": action, "arguments": arguments}) + "\n"
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_LIMIT_S)
                connection.connect(self.control)
                connection.sendall(request.encode())
                answer = json.loads(connection.makefile("rb").readline())
        except (OSError, ValueError) as error:
            raise EngineFailed(
                f"The cluster at {self.address} (process {self.pid}) does not answer: {error}"
            ) from error
        if "error" in answer:
            kind = ConfigError if answer["config"] else EngineFailed
            raise kind(answer["error"])
        return answer["result"]


@contextmanager
def listed(
    address: str,
    folder: Path,
    namespaces: dict[str, str],
    environment: dict[str, str],
    perform: Callable[[str, dict[str, Any]], Any],
) -> Iterator[None]:
    """List this process as a cluster's owner while it runs, and let `perform(action, arguments)` answer requests."""
    process, control = psutil.Process(), folder / "control"
    state = ClusterState(process.pid, process.create_time(), address, str(control), namespaces, environment)
    path = run_dir() / f"cluster-{state.pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _server(control, perform):
        try:
            partial = path.with_suffix(".tmp")
            partial.touch(mode=0o600)
            partial.write_text(json.dumps(asdict(state)), encoding="utf-8")
            partial.replace(path)
            yield
        finally:
            path.unlink(missing_ok=True)


def running_clusters() -> list[ClusterState]:
    """All local clusters that run. Files of killed ones are removed."""
    clusters = []
    for path in sorted(run_dir().glob("cluster-*.json")):
        try:
            state = ClusterState(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
        except (ValueError, TypeError):
            path.unlink(missing_ok=True)
            continue
        if state.runs():
            clusters.append(state)
        else:
            path.unlink(missing_ok=True)
    return clusters


def find_cluster(address: str | None = None) -> ClusterState:
    """The cluster at this address, or the only one. Raises `ConfigError` where there is none or several."""
    clusters = running_clusters()
    found = [one for one in clusters if address is None or one.address == address]
    if len(found) == 1:
        return found[0]
    if not clusters:
        raise ConfigError("No local cluster runs here. Start one with: stageline cluster up")
    addresses = ", ".join(one.address for one in clusters)
    if not found:
        raise ConfigError(f"No local cluster runs at {address}. There are: {addresses}.", param="address")
    raise ConfigError(f"Several local clusters run here: choose one with --address, of {addresses}.", param="address")


def local_cluster_at(address: str) -> ClusterState | None:
    """The local cluster that `serve --address ADDRESS` means: "local" is the only one. None: it is somebody else's."""
    if address == "local":
        return find_cluster()
    return next((one for one in running_clusters() if one.address == address), None)


@contextmanager
def _server(path: Path, perform: Callable[[str, dict[str, Any]], Any]) -> Iterator[None]:
    class Handler(socketserver.StreamRequestHandler):
        timeout = 10.0

        def handle(self) -> None:
            try:
                request = json.loads(self.rfile.readline())
                answer = {"result": perform(request["action"], request["arguments"])}
            except StagelineError as error:
                answer = {"error": error.message, "config": isinstance(error, ConfigError)}
            except (OSError, ValueError, KeyError, TypeError, psutil.Error, subprocess.SubprocessError) as error:
                answer = {"error": f"{type(error).__name__}: {error}", "config": False}
            with suppress(OSError):  # whoever asked has gone
                self.wfile.write(json.dumps(answer).encode() + b"\n")

    with socketserver.ThreadingUnixStreamServer(os.fspath(path), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="control", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(10.0)
