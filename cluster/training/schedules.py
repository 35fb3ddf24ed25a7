"""Learning rates as pure functions of the step."""

from __future__ import annotations

import math

from cluster.training.recipe import ScheduleName


def rate(schedule: ScheduleName, step: int, *, peak: float, warmup: int, total: int) -> float:
    """Learning rate of step `step` (from 0) out of `total`: a linear rise to `peak`, then the schedule's fall."""
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    if schedule == "inverse-sqrt":
        return peak * math.sqrt(max(1, warmup) / (step + 1)) if warmup else peak / math.sqrt(step + 1)
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    if schedule == "linear":
        return peak * (1 - progress)
    return peak * (1 + math.cos(math.pi * progress)) / 2
