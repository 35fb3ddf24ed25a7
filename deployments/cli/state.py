"""Which servers run on this machine: one small file each, so that `status`, `stop` and `chat` find them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from cluster.node import end_processes, has_ended, remove_temp_dir
from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ServerState:
    """One `stageline serve`. `pid` and `created` (when that process began) together name a process for good."""

    pid: int
    created: float
    url: str
    port: int
    config: str
    admin_url: str = ""
    ray_address: str = ""
    temp_dir: str = ""
    state: Literal["starting", "ready"] = "starting"

    def process(self) -> psutil.Process | None:
        """The server's process; None when it has ended, even if its id belongs to another by now."""
        try:
            process = psutil.Process(self.pid)
            return process if process.create_time() == self.created and not has_ended(process) else None
        except psutil.NoSuchProcess:
            return None


def run_dir() -> Path:
    """`$STAGELINE_RUN`, or `~/.cache/stageline/run`."""
    return Path(os.environ.get("STAGELINE_RUN") or Path.home() / ".cache" / "stageline" / "run")


class StateFile:
    """The file of this process's server."""

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self._path = run_dir() / f"server-{state.pid}.json"

    def update(self, **changes: str) -> None:
        """Change fields and write."""
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".tmp")
        partial.write_text(json.dumps(asdict(self.state)), encoding="utf-8")
        partial.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


@contextmanager
def registered(url: str, port: int, config: str) -> Iterator[StateFile]:
    """List this process as a server while it runs."""
    process = psutil.Process()
    file = StateFile(ServerState(process.pid, process.create_time(), url, port, config))
    file.update()
    try:
        yield file
    finally:
        file.remove()


def running_servers() -> list[ServerState]:
    """All servers that run, by port. Files of servers that were killed are removed."""
    servers = []
    for path in run_dir().glob("server-*.json"):
        try:
            state = ServerState(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
        except (ValueError, TypeError):
            path.unlink(missing_ok=True)
            continue
        if state.process() is None:
            path.unlink(missing_ok=True)
        else:
            servers.append(state)
    return sorted(servers, key=lambda state: state.port)


def clear_leftovers() -> None:
    """End what servers that were killed could not end any more, and delete their temporary folders.

    Ray's processes notice the loss by themselves; the proxy in front does not, and would keep the port.
    """
    for path in run_dir().glob("server-*.json"):
        try:
            state = ServerState(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        folder = Path(state.temp_dir)
        if state.process() is None and state.temp_dir:
            end_processes(_started_from(folder))
            remove_temp_dir(folder)


def _started_from(folder: Path) -> set[psutil.Process]:
    """Processes with a file of `folder` on their command line."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if any(argument.startswith(f"{folder}/") for argument in process.info["cmdline"] or ()):
            found.add(process)
    return found


def find_server(port: int | None) -> ServerState:
    """The server at `port`, or the only one. Raises `ConfigError` when there is none, or which one is meant is open."""
    servers = running_servers()
    found = [server for server in servers if port is None or server.port == port]
    if len(found) == 1:
        return found[0]
    if not servers:
        raise ConfigError("No server runs here. Start one with: stageline serve")
    ports = ", ".join(str(server.port) for server in servers)
    if not found:
        raise ConfigError(f"No server runs at port {port}. There are servers at: {ports}.", param="port")
    raise ConfigError(f"Several servers run here: choose one with --port, of {ports}.", param="port")
