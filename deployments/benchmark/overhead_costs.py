"""How much of the speed is left with all of it on, from a kept result. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from deployments.benchmark.ratios import Ratio, ratio
from deployments.benchmark.short_turns import Had
from deployments.benchmark.works import WORKS, Work

OFF, ON, EVERY = SERVERS = ("off", "on", "every")
"""Servers: nothing of it, all of it as it is by default, and with a trace and a line in the log of each request."""

LEAST = 0.97  # of the speed without
MOST_METRICS = 0.01  # of one core


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one work, by round: answers a second, and seconds of a core that an answer takes beyond what the server with
    nothing of it takes while nobody asks."""

    work: Work
    rates: Mapping[str, Sequence[float]]
    processor_s: Mapping[str, Sequence[float]]

    def speed(self, server: str) -> Ratio:
        """What is left of the speed without."""
        return ratio(self.rates[OFF], self.rates[server], lower_is_better=False)

    def processor(self, server: str) -> Ratio:
        """What would be left if the processor's time were all that counts, as on a server that has all that it can
        do."""
        return ratio(self.processor_s[OFF], self.processor_s[server], lower_is_better=True)


def costs(result: Mapping[str, Any]) -> list[Cost]:
    """Of all works, in their order."""
    return [_cost(work, result) for work in WORKS if work.name in result["works"]]


def _cost(work: Work, result: Mapping[str, Any]) -> Cost:
    found = {name: [Had(**one) for one in result["works"][work.name]["servers"][name]] for name in SERVERS}
    rates = {name: [one.answers / one.seconds for one in samples] for name, samples in found.items()}
    # One figure for all, as what they take while idle differs by less than it can be measured in seconds.
    idle = [float(one[OFF]) for one in result["idle_cores"]]
    processor_s = {
        name: [
            (one.processor_s - cores * one.elapsed_s) / one.answers for one, cores in zip(samples, idle, strict=True)
        ]
        for name, samples in found.items()
    }
    return Cost(work, rates, processor_s)


def metrics_share(result: Mapping[str, Any]) -> float:
    """How much of one core metrics take while text is generated with all of it on."""
    (generation,) = (one for one in costs(result) if one.work.name == "generation")
    tokens = float(result["works"]["generation"]["scenario"]["requests"][0]["output_tokens"])
    cost = result["metrics"]
    return median(generation.rates[ON]) * (tokens * float(cost["token_s"]) + float(cost["request_s"]))


def complaints(result: Mapping[str, Any]) -> list[str]:
    """Works that are slower with all of it on, as by default, by more than `LEAST` allows, and requests that failed."""
    found = []
    for one in costs(result):
        left = one.speed(ON)
        if left.value < LEAST:
            found.append(
                f"{one.work.name}: with all of it on {left.value:.1%} [{left.low:.1%} to {left.high:.1%}] of the speed "
                f"without; {LEAST:.0%} is the least."
            )
    if (share := metrics_share(result)) > MOST_METRICS:
        found.append(f"Metrics take {share:.2%} of one core; {MOST_METRICS:.0%} is the most.")
    for name, work in result["works"].items():
        for server, samples in work["servers"].items():
            if failed := sum(one["failed"] for one in samples):
                found.append(f"{name}, {server}: {failed} requests failed.")
    return found
