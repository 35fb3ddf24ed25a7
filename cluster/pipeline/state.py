"""What a pipeline tells of its stages, for whoever looks after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ready", "starting", "lost"]


@dataclass(frozen=True, slots=True)
class StageState:
    """One stage. `layers` as in "0-18", the last one included. Memory in bytes: of the process, and of it the weights
    and what the caches may grow to. `busy` (computing), `waiting` (for work that has not come) and `sending` are
    shares, 0 to 1, of the last seconds. `restarts` counts how often the stage was replaced."""

    index: int
    layers: str
    node: str
    pid: int
    memory_bytes: int
    weight_bytes: int
    cache_bytes: int
    busy: float
    waiting: float
    sending: float
    state: State
    restarts: int = 0


def layer_range(first: int, last: int) -> str:
    """Layers `first` to `last` - 1 as people write it: "0-18"."""
    return f"{first}-{last - 1}" if last - first > 1 else str(first)


def bubble(stages: Sequence[StageState], in_flight: float) -> float | None:
    """The share of the stages' time that was lost while work was in flight: 1 - their mean share of being busy then.

    `in_flight` is the share of the last seconds in which there was any work. None where there was none.
    """
    if not stages or in_flight <= 0:
        return None
    busy = sum(stage.busy for stage in stages) / len(stages)
    return min(1.0, max(0.0, 1.0 - busy / in_flight))
