"""What can be done to a cluster that serves: by process, by node, by cable. Each is undone after a while."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from cluster.nodes.local_cluster import LocalCluster
from deployments.bench.node_server import Part

Kind = Literal["stage killed", "stage frozen", "replica killed", "node killed", "link cut"]
KINDS: tuple[Kind, ...] = ("stage killed", "stage frozen", "replica killed", "node killed", "link cut")
LASTING = ("node killed", "link cut")  # until they are undone


@dataclass(slots=True)
class Injury:
    """`at_s` in `time.time()` seconds; `target` for people."""

    kind: Kind
    target: str
    at_s: float = 0.0
    undone_s: float | None = None
    recovered_s: float | None = None
    longest_gap_s: float = 0.0
    median_gap_s: float = 0.0
    streams: int = 0
    notes: list[str] = field(default_factory=list)


def choose(kind: Kind, found: Sequence[Part], nodes: Mapping[str, str], draw: random.Random) -> tuple[str, Part] | None:
    """The node (by name) and the part to hit; `nodes` are names by address, those that may be hit only. None where
    there is nothing of that kind."""
    here = [one for one in found if one.node in nodes]
    if kind.startswith("stage"):
        here = [one for one in here if one.stage is not None]
    if kind == "replica killed":
        here = [one for one in here if one.stage is None]
    if not here:
        return None
    part = draw.choice(here)
    return nodes[part.node], part


def inflict(kind: Kind, cluster: LocalCluster, node: str, part: Part) -> None:
    """Does it. What ended by itself meanwhile is no mistake."""
    with suppress(ProcessLookupError):
        match kind:
            case "stage killed" | "replica killed":
                os.kill(part.pid, signal.SIGKILL)
            case "stage frozen":
                os.kill(part.pid, signal.SIGSTOP)
            case "node killed":
                cluster.kill_node(node)
            case "link cut":
                cluster.cut(node)


def undo(kind: Kind, cluster: LocalCluster, node: str) -> None:
    """Brings back what does not come back by itself."""
    if kind == "link cut":
        cluster.restore(node)
    if kind == "node killed":
        cluster.start_node(node)
