"""What metrics cost: the processor's time that a token and a request take in them, timed here by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from deployments.front_door.metrics import Metrics
from deployments.replica_metrics import ReplicaMetrics
from deployments.routing.prediction import Objective
from engine.request import Timings

LONG, SHORT = 256, 2  # tokens of answers, whose difference is what tokens cost
REPEATS, ANSWERS = 9, 40


@dataclass(frozen=True, slots=True)
class MetricsCost:
    """Seconds of one core: of each token, one at a time with a step of its own, and of the rest of a request."""

    token_s: float
    request_s: float


def metrics_cost() -> MetricsCost:
    """Of the front door's metrics and a replica's together, the least of several tries."""
    door, replica = Metrics(), ReplicaMetrics("model", "variant")
    objective = Objective(0.5, 0.05)

    def answer(tokens: int) -> None:
        meter = door.meter("model", "variant", 32, time.perf_counter(), objective)
        door.decided("model", "variant", "objective")
        for _ in range(tokens):
            replica.observe_step(1, 0.01)
            meter.progress(1)
        meter.finish(Timings(0.01, 0.1, 1.0))
        meter.done("stop")

    long_s, short_s = (_least_s(lambda tokens=tokens: answer(tokens)) for tokens in (LONG, SHORT))  # type: ignore[misc]
    token_s = (long_s - short_s) / (LONG - SHORT)
    return MetricsCost(token_s, max(0.0, short_s - SHORT * token_s))


def _least_s(work: Callable[[], None]) -> float:
    """Of one call."""
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(ANSWERS):
            work()
        found.append((time.perf_counter() - began) / ANSWERS)
    return min(found)
