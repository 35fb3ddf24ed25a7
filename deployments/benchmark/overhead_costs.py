"""How much of the speed is left with all of it on, from a kept result. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from deployments.benchmark.ratios import ratio
from deployments.benchmark.works import WORKS, Work

OFF, ON, EVERY = "off", "on", "every"
"""Servers: nothing of it, all of it as it is by default, and with a trace and a line in the log of each request."""

LEAST = 0.97  # of the speed without
MOST_METRICS = 0.01  # of one core


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one work: its speed on a server, as a share of that with all off, and in which interval that is with 95%."""

    work: Work
    share: float
    low: float
    high: float
    off: Sequence[float]
    on: Sequence[float]


def costs(result: Mapping[str, Any], server: str = ON) -> list[Cost]:
    """Of all works, in their order."""
    return [_cost(work, result["works"][work.name], server) for work in WORKS if work.name in result["works"]]


def _cost(work: Work, found: Mapping[str, Any], server: str) -> Cost:
    off, on = (
        [float(one["figures"][work.figure]) for one in found["servers"][name]["samples"]] for name in (OFF, server)
    )
    better = ratio(off, on, lower_is_better=work.lower_is_better)
    return Cost(work, better.value, better.low, better.high, off, on)


def metrics_share(result: Mapping[str, Any]) -> float:
    """How much of one core metrics take while text is generated with all of it on."""
    work = result["works"]["generation"]
    tokens_per_s = median(float(one["figures"]["tokens_per_s"]) for one in work["servers"][ON]["samples"])
    tokens = work["scenario"]["requests"][0]["output_tokens"]
    cost = result["metrics"]
    return tokens_per_s * (float(cost["token_s"]) + float(cost["request_s"]) / float(tokens))


def complaints(result: Mapping[str, Any]) -> list[str]:
    """Works that are slower with all of it on, as by default, by more than `LEAST` allows, and requests that failed."""
    found = [
        f"{one.work.name}: with all of it on {one.share:.1%} [{one.low:.1%} to {one.high:.1%}] of the speed without; "
        f"{LEAST:.0%} is the least."
        for one in costs(result)
        if one.share < LEAST
    ]
    if (share := metrics_share(result)) > MOST_METRICS:
        found.append(f"Metrics take {share:.2%} of one core; {MOST_METRICS:.0%} is the most.")
    for name, work in result["works"].items():
        for server, one in work["servers"].items():
            if failed := sum(sample["figures"]["failed"] for sample in one["samples"]):
                found.append(f"{name}, {server}: {failed} requests failed.")
    return found
