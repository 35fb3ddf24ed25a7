"""What became of a stage's time between two of its beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.pipeline.clock import Beat
from cluster.pipeline.state import Shares


@dataclass(frozen=True, slots=True)
class Sample:
    """A stage's beat with when it came, and for how many seconds until then the pipeline had work under way."""

    at: float
    active_s: float
    beat: Beat


def shares(first: Sample, last: Sample) -> Shares:
    """Between two samples of one process."""
    seconds = last.at - first.at
    if seconds <= 0:
        return Shares()
    busy_s = last.beat.busy_s - first.beat.busy_s
    active_s = last.active_s - first.active_s

    def share(part: float, whole: float) -> float:
        return min(1.0, max(0.0, part / whole))

    return Shares(
        share(busy_s, seconds),
        share(last.beat.waiting_s - first.beat.waiting_s, seconds),
        share(last.beat.sending_s - first.beat.sending_s, seconds),
        share(active_s, seconds),
    )


def shares_between(samples: Sequence[Sample], start: float, end: float) -> Shares | None:
    """From the last sample before `start` to the first after `end`, as far as there are such: to the nearest ones.
    None where no time of it is known. The oldest sample is first; all are of one process."""
    if len(samples) < 2 or end <= samples[0].at or start >= samples[-1].at:
        return None
    first = next((one for one in reversed(samples) if one.at <= start), samples[0])
    last = next((one for one in samples if one.at >= end), samples[-1])
    return shares(first, last)
