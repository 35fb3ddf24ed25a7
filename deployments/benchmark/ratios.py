"""Baseline against optimized: the median of the rounds' ratios, and how sure it is. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadtest.intervals import percentile

LEAST_ROUNDS = 6
"""The extremes of so many hold their median with 97%. (Of three: with 75%.)"""

Standing = Literal["above", "below", "not told apart"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median of the rounds, and the least and the most of them."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times better: the median of the rounds' ratios, and between which two of them it is with 95%, by order
    statistics; of fewer than `LEAST_ROUNDS` these are the least and the most of them, which are less sure."""

    value: float
    low: float
    high: float

    def against(self, claim: float) -> Standing:
        """Where it stands to a figure without a spread: one that lies in the interval is not told apart."""
        return "above" if self.low > claim else "below" if self.high < claim else "not told apart"


def spread(samples: Sequence[float]) -> Spread:
    return Spread(statistics.median(samples), min(samples), max(samples))


def ratio(baseline: Sequence[float], optimized: Sequence[float], *, lower_is_better: bool) -> Ratio:
    """Of samples by round, one of each server a round. Each round has its own ratio, as a slow minute slows both."""
    if len(baseline) != len(optimized) or not baseline:
        raise ValueError(f"{len(baseline)} rounds of the baseline and {len(optimized)} of the other")
    pairs = zip(baseline, optimized, strict=True)
    found = [theirs / ours if lower_is_better else ours / theirs for theirs, ours in pairs]
    median = percentile(np.sort(found), 0.5)
    return Ratio(
        median.value,
        min(found) if median.low is None else median.low,
        max(found) if median.high is None else median.high,
    )
