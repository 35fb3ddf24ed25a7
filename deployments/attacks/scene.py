"""The server that is attacked: one of our own, or one that runs already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from cluster.node import free_ports
from deployments.cli.state import ServerState
from engine.errors import EngineFailed

CONFIG = Path(__file__).parent / "attack.yaml"
START_S, STOP_S, ASK_S = 300.0, 60.0, 20.0


@dataclass(frozen=True, slots=True)
class Scene:
    """`models` by task, as the server names them. `pid` is of `stageline serve`, None where that runs elsewhere: then
    nothing is known of its processes. `operators` is where /metrics and /status are; `headers` go with each request."""

    url: str
    models: Mapping[str, str]
    pid: int | None = None
    operators: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80

    @property
    def generator(self) -> str:
        return self.models["text-generation"]

    def ask(self, path: str, body: Mapping[str, Any], timeout_s: float = ASK_S) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, headers=dict(self.headers), timeout=timeout_s)

    def status(self) -> dict[str, Any]:
        page = f"{self.operators or self.url}/status"
        found: dict[str, Any] = httpx.get(page, headers=dict(self.headers), timeout=ASK_S).raise_for_status().json()
        return found


@contextmanager
def own_server(config: Path = CONFIG) -> Iterator[Scene]:
    """`stageline serve CONFIG` on a free port, until the end of the context. Raises EngineFailed for no start."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "deployments.cli", "serve", str(config), "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="stageline-attacked-") as folder, tempfile.TemporaryFile() as log:
        environment = {**os.environ, "STAGELINE_RUN": folder}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            state = _wait(process, Path(folder), log)
            yield scene_at(state.url, process.pid, str(getattr(state, "admin_url", "") or ""))
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)


def _wait(process: subprocess.Popen[bytes], folder: Path, log: Any) -> ServerState:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        for path in folder.glob("server-*.json"):
            state = ServerState(**json.loads(path.read_text(encoding="utf-8")))
            if state.state == "ready":
                return state
        time.sleep(0.1)
    log.seek(0)
    raise EngineFailed(f"The server to attack did not start: {log.read().decode(errors='replace')[-800:]}")


def scene_at(url: str, pid: int | None = None, operators: str = "", key: str | None = None) -> Scene:
    """What there is at an address. Raises EngineFailed where no Stageline answers."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        shown = httpx.get(f"{operators or url}/status", headers=headers, timeout=ASK_S).raise_for_status().json()
        models = {one["task"]: one["name"] for one in reversed(shown["models"])}
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        raise EngineFailed(f"No Stageline answers at {url}: {error}") from error
    if "text-generation" not in models:
        raise EngineFailed(f"The server at {url} has no model that generates text, which most attacks need.")
    return Scene(url.rstrip("/"), models, pid, operators, headers)
