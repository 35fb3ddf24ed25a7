"""What a server's processes hold: memory, files and connections, and requests and blocks of the cache."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from deployments.app import FRONT_DOOR
from deployments.attacks.scene import Scene

SETTLE_S = 45.0  # for everything to end that is ending
_POLL_S = 0.5
_REPLICA = re.compile(r"ServeReplica:[^:]+:(.+?)(?:\.\w+)?$")


@dataclass(frozen=True, slots=True)
class Holdings:
    """By process, as "what it is:pid": resident MiB, and open files with connections among them."""

    mib: Mapping[str, int]
    files: Mapping[str, int]

    def total(self, what: str) -> int:
        """Of all processes together."""
        return sum((self.mib if what == "mib" else self.files).values())


def holdings(scene: Scene) -> Holdings:
    """What the front door, the proxy and the replicas hold now; nothing where the server is not ours to look into."""
    mib, files = {}, {}
    for process in _below(scene):
        try:
            name = f"{kind(process)}:{process.pid}"
            mib[name], files[name] = process.memory_info().rss >> 20, process.num_fds()
        except psutil.Error:
            continue  # it has just ended
    return Holdings(mib, files)


def kind(process: psutil.Process) -> str:
    """What it is, for people."""
    line = " ".join(process.cmdline())
    if FRONT_DOOR in line:
        return "front door"
    if "haproxy" in process.name():
        return "proxy"
    return variant_in(line) or process.name()


def variant_in(title: str) -> str | None:
    """The variant in the title that Ray gives a replica's process, which may end in what it is doing and spaces."""
    found = _REPLICA.search(title.rstrip())
    return found[1] if found else None


def _below(scene: Scene) -> list[psutil.Process]:
    if scene.pid is None:
        return []
    found = psutil.Process(scene.pid).children(recursive=True)
    return [one for one in found if _serves(one)]


def _serves(process: psutil.Process) -> bool:
    try:
        return "haproxy" in process.name() or "ServeReplica" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def at_work(scene: Scene) -> list[str]:
    """Replicas that hold requests or blocks of the cache, in words."""
    return [
        f"{model['name']}: {one.get('running', 0)} running, {one.get('waiting', 0)} waiting, "
        f"{one.get('kv_cache_usage', 0):.1%} of the cache"
        for model in scene.status()["models"]
        for variant in model["variants"]
        for one in variant["replicas"]
        if one.get("running") or one.get("waiting") or one.get("kv_cache_usage")
    ]


def wait_idle(scene: Scene, limit_s: float = SETTLE_S) -> list[str]:
    """Waits until nothing is at work, and gives what still is when time is up."""
    deadline = time.monotonic() + limit_s
    while (left := at_work(scene)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return left


def replicas(scene: Scene) -> set[Any]:
    """What names the replicas that run: another set means that one died."""
    return {
        one.get("pid")
        for model in scene.status()["models"]
        for variant in model["variants"]
        for one in variant["replicas"]
    }
