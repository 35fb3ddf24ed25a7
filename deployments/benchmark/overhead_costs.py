"""How much of the speed is left with all of it on, from a kept result. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.benchmark.ratios import ratio
from deployments.benchmark.works import WORKS, Work

OFF, ON = "off", "on"
LEAST = 0.97  # of the speed without


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one work: its speed with all on, as a share of that with all off, and in which interval that is with 95%."""

    work: Work
    share: float
    low: float
    high: float
    off: Sequence[float]
    on: Sequence[float]


def costs(result: Mapping[str, Any]) -> list[Cost]:
    """Of all works, in their order."""
    return [_cost(work, result["works"][work.name]) for work in WORKS if work.name in result["works"]]


def _cost(work: Work, found: Mapping[str, Any]) -> Cost:
    off, on = ([float(one["figures"][work.figure]) for one in found["servers"][name]["samples"]] for name in (OFF, ON))
    better = ratio(off, on, lower_is_better=work.lower_is_better)
    return Cost(work, better.value, better.low, better.high, off, on)


def complaints(result: Mapping[str, Any]) -> list[str]:
    """Works that are slower by more than `LEAST` allows, and requests that failed."""
    found = [
        f"{one.work.name}: with all of it on {one.share:.1%} [{one.low:.1%} to {one.high:.1%}] of the speed without; "
        f"{LEAST:.0%} is the least."
        for one in costs(result)
        if one.share < LEAST
    ]
    for name, work in result["works"].items():
        for server, one in work["servers"].items():
            if failed := sum(sample["figures"]["failed"] for sample in one["samples"]):
                found.append(f"{name}, {server}: {failed} requests failed.")
    return found
