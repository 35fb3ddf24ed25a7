"""`stageline serve` on a cluster of real nodes, and which of its processes hold work."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cluster.nodes.local_cluster import HEAD, LocalCluster
from deployments.settings import Settings
from engine.errors import ConfigError, EngineFailed

START_S = 300.0
STOP_S = 60.0
PORT = 8000
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Part:
    """A process of the server that holds work: a replica, or one of its stages. `node` is an address."""

    pid: int
    node: str
    stage: int | None = None


def check_here() -> None:
    """Raises ConfigError where there are no such clusters."""
    from cluster.nodes.namespaces import unavailable

    reason = unavailable()
    if reason is not None:
        raise ConfigError(f"A cluster of nodes cannot be had on this machine: {reason}.")


@contextmanager
def served(cluster: LocalCluster, config: Path) -> Iterator[str]:
    """`stageline serve` on the head: its address, from when it is ready."""
    command = ["-m", "deployments.cli", "serve", str(config), "--address", cluster.address, "--without-keys"]
    with on_head(cluster, command, "/ready") as url:
        yield url


@contextmanager
def on_head(cluster: LocalCluster, command: Sequence[str], ready: str) -> Iterator[str]:
    """A server's Python process on the head, from when it answers 200 at the path `ready`; its URL. `command` comes
    after Python, and gets host and port. Raises EngineFailed with its last words."""
    log = cluster.folder / "serve.log"
    command = [sys.executable, *command, "--host", "0.0.0.0", "--port", str(PORT)]
    url = f"http://{cluster.head.ip}:{PORT}"
    with log.open("wb") as output:
        process = cluster.run(HEAD, command, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + START_S
            while not _answers(f"{url}{ready}"):
                if process.poll() is not None or time.monotonic() > deadline:
                    words = log.read_text(errors="replace").strip().splitlines()[-5:]
                    raise EngineFailed("The server did not start:\n" + "\n".join(words))
                time.sleep(POLL_S)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def processes(settings: Settings, model: str) -> int:
    """Replicas of a model that always run, and their stages."""
    variants = next(one for one in settings.models if one.name == model).variants
    return sum(one.replicas.min * (1 + (one.stages.count if one.stages.count > 1 else 0)) for one in variants)


def wait_whole(url: str, model: str, count: int) -> list[Part]:
    """Waits until so many processes serve the model. Raises EngineFailed."""
    deadline = time.monotonic() + START_S
    while len(found := found_parts(url, model)) < count:
        if time.monotonic() > deadline:
            raise EngineFailed(f"Only {len(found)} of {count} processes of {model} are ready: is there room for all?")
        time.sleep(POLL_S)
    return found


def found_parts(url: str, model: str) -> list[Part]:
    """What serves the model now; nothing where the server does not tell."""
    try:
        return parts(status_of(url), model)
    except (httpx.HTTPError, ValueError):
        return []


def status_of(url: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{url}/status", timeout=10.0).raise_for_status().json()
    return found


def parts(status: Mapping[str, Any], model: str) -> list[Part]:
    """From the answer to `GET /status`."""
    found: list[Part] = []
    for shown in status["models"]:
        for variant in shown["variants"] if shown["name"] == model else ():
            for replica in variant["replicas"]:
                if replica["state"] != "ready":
                    continue
                found.append(Part(replica["pid"], replica["node"]))
                stages = [one for one in replica.get("stages", ()) if one["state"] == "ready"]
                found += [Part(one["pid"], one["node"], one["index"]) for one in stages]
    return found
