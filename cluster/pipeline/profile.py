"""A profile of all of a pipeline's stages at the same time, while they serve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.pipeline.actors import in_short
from cluster.pipeline.crew import Crew
from engine.errors import Busy
from engine.profiling import Part

_PREPARE_S = 60.0  # torch is got ready in seconds, on cores that have other things to do
_FINISH_S = 60.0  # to write the trace down and bring it here
_CLOCK_S = 2.0
_LOOKS = 3  # at a stage's clock


@dataclass(frozen=True, slots=True)
class StageProfile:
    """A stage's part, or what became of it: `why` there is none. `ahead_s` is how much its clock is ahead of ours."""

    name: str
    part: Part | None
    ahead_s: float = 0.0
    why: str = ""


def prepare_stages(crew: Crew) -> list[StageProfile]:
    """Gets all stages ready. Returns those that cannot be profiled; raises Busy where one is being profiled."""
    results = crew.ask_each("prepare_profile", timeout_s=_PREPARE_S)
    return [_failed(crew, index, result) for index, result in enumerate(results) if isinstance(result, Exception)]


def profile_stages(crew: Crew, seconds: float) -> list[StageProfile]:
    """What each stage does for so long. Raises Busy where one is being profiled already."""
    ahead = [_ahead_s(crew, index) for index in range(len(crew.seats))]
    found = []
    for index, result in enumerate(crew.ask_each("profile", seconds, timeout_s=seconds + _FINISH_S)):
        if isinstance(result, Part):
            found.append(StageProfile(_name(crew, index), result, ahead[index]))
        else:
            found.append(_failed(crew, index, result))
    return found


def clock_ahead(looks: Sequence[tuple[float, float, float]]) -> float:
    """By how many seconds another clock is ahead, from looks at it: when it was asked, what it said, when the answer
    came. The quickest look knows best. 0 where it does not tell the two apart, as on the same machine."""
    if not looks:
        return 0.0
    asked, said, answered = min(looks, key=lambda look: look[2] - look[0])
    ahead = said - (asked + answered) / 2
    return ahead if abs(ahead) > (answered - asked) / 2 else 0.0


def _ahead_s(crew: Crew, index: int) -> float:
    looks = []
    for _ in range(_LOOKS):
        asked = time.time()
        (said,) = crew.ask_each("now", timeout_s=_CLOCK_S, only=index)
        if isinstance(said, Exception):
            break  # it will say so itself
        looks.append((asked, said, time.time()))
    return clock_ahead(looks)


def _name(crew: Crew, index: int) -> str:
    return f"stage {index}: layers {crew.seats[index].label}"


def _failed(crew: Crew, index: int, error: object) -> StageProfile:
    if isinstance(error, Busy):
        raise error
    return StageProfile(_name(crew, index), None, why=in_short(error))
