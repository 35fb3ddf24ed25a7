"""How long streams stood still."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deployments.bench.faults.reader import Told


@dataclass(frozen=True, slots=True)
class Gap:
    """Between two tokens of a stream, in `time.time()` seconds."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        return self.end_s - self.begin_s


def gaps(told: Told) -> list[Gap]:
    """All of one stream, of each of its answers by itself."""
    return [Gap(*ends) for choice in told.choices.values() for ends in pairwise(choice.arrivals)]


def longest(streams: Iterable[Told], begin_s: float = 0.0, end_s: float = float("inf")) -> float:
    """The longest pause that lay, be it in part, between two times; 0 where there was none."""
    found = (gap for told in streams for gap in gaps(told))
    return max((gap.seconds for gap in found if gap.end_s > begin_s and gap.begin_s < end_s), default=0.0)


def median_of_longest(streams: Sequence[Told], begin_s: float, end_s: float) -> float:
    """The median, over the streams that ran then, of each one's longest pause."""
    each = sorted(longest([told], begin_s, end_s) for told in streams if ran(told, begin_s, end_s))
    return each[len(each) // 2] if each else 0.0


def ran(told: Told, begin_s: float, end_s: float) -> bool:
    """Whether the stream had begun and not ended at some time between two."""
    return told.begun_s is not None and told.begun_s < end_s and told.ended_s > begin_s
