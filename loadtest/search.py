"""The highest rate that keeps the objective: bisection over runs of an open loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.errors import LoadTestError
from loadtest.scenario import Closed, Scenario

GROWTH = 2.0
MOST_TRIES = 30


@dataclass(frozen=True, slots=True)
class Tried:
    """A run at `rate` requests a second, and whether it kept the objective."""

    rate: float
    kept: bool


def next_rate(tried: Sequence[Tried], first: float, precision: float, lowest: float = 0.0) -> float | None:
    """Doubles until the objective is not kept, halves until it is, then goes to the middle (of the logarithms) until
    the two are closer than `precision` (0.1: 10%). None when there is nothing more to try, or only below `lowest`.

    A run that kept the objective above one that did not is taken for luck: the lowest failure is the limit.
    """
    if not tried:
        return first
    high = min((one.rate for one in tried if not one.kept), default=math.inf)
    low = max((one.rate for one in tried if one.kept and one.rate < high), default=0.0)
    if len(tried) >= MOST_TRIES or (low and high <= low * (1 + precision)):
        return None
    if high == math.inf:
        return low * GROWTH
    if low:
        return math.sqrt(low * high)
    return high / GROWTH if high / GROWTH >= lowest else None


def best(tried: Sequence[Tried]) -> float | None:
    """The highest rate below every failure; None where none kept the objective."""
    high = min((one.rate for one in tried if not one.kept), default=math.inf)
    return max((one.rate for one in tried if one.kept and one.rate < high), default=None)


def search(first: float, precision: float, attempt: Callable[[float], bool], lowest: float = 0.0) -> list[Tried]:
    """All that was tried, in order. `attempt` makes one run and tells whether the objective was kept."""
    tried: list[Tried] = []
    while (rate := next_rate(tried, first, precision, lowest)) is not None:
        tried.append(Tried(rate, attempt(rate)))
    return tried


def at_rate(scenario: Scenario, rate: float, number: int) -> Scenario:
    """The scenario with another rate, and other prompts than the runs before. Raises LoadTestError for a closed loop,
    for phases and traces, which have no one rate."""
    if isinstance(scenario.load, Closed) or scenario.load.rate is None:
        raise LoadTestError(f"{scenario.name}: a capacity is searched with `arrivals` at one `rate`; it has none.")
    load = scenario.load.model_copy(update={"rate": rate})
    return scenario.model_copy(update={"load": load, "seed": scenario.seed + number})
