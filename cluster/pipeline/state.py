"""What a pipeline tells of its stages, for whoever looks after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ready", "starting", "lost"]


@dataclass(frozen=True, slots=True)
class Shares:
    """Of a stage's time, 0 to 1: computing, waiting for work that has not come, sending; and `active`, in which the
    pipeline had work under way."""

    busy: float = 0.0
    waiting: float = 0.0
    sending: float = 0.0
    active: float = 0.0


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What a stage did in a certain time; `layers` as in `StageState`."""

    index: int
    layers: str
    shares: Shares


@dataclass(frozen=True, slots=True)
class StageState:
    """One stage. `layers` as in "0-18", the last one included; `node` is an address. Memory in bytes: of the process
    now and at its most while loading, and of it the weights and what the caches may grow to. `restarts` counts how
    often the stage was replaced, `batches` those of its process."""

    index: int
    layers: str
    node: str
    pid: int
    state: State
    memory_bytes: int
    peak_memory_bytes: int
    weight_bytes: int
    cache_bytes: int
    load_s: float
    batches: int
    restarts: int
    shares: Shares


def layer_range(first: int, last: int) -> str:
    """Layers `first` to `last` - 1 as people write it: "0-18"."""
    return f"{first}-{last - 1}" if last - first > 1 else str(first)


def bubble(stages: Sequence[StageState]) -> float | None:
    """The share of the stages' time that was lost while work was under way. None where there was none."""
    active = sum(stage.shares.active for stage in stages)
    if active <= 0:
        return None
    return min(1.0, max(0.0, 1.0 - sum(stage.shares.busy for stage in stages) / active))
