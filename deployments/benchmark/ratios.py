"""Baseline against optimized: the median of the rounds' ratios, and how far they lie apart. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Standing = Literal["above", "below", "not told apart"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median of the rounds, and the least and the most of them."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times better: the median of the rounds' ratios, the least and the most of them."""

    value: float
    low: float
    high: float

    def against(self, claim: float) -> Standing:
        """Where it stands to a figure without a spread: one that lies among the rounds' is not told apart."""
        return "above" if self.low > claim else "below" if self.high < claim else "not told apart"


def spread(samples: Sequence[float]) -> Spread:
    return Spread(statistics.median(samples), min(samples), max(samples))


def ratio(baseline: Sequence[float], optimized: Sequence[float], *, lower_is_better: bool) -> Ratio:
    """Of samples by round, one of each server a round. Each round has its own ratio, as a slow minute slows both."""
    if len(baseline) != len(optimized) or not baseline:
        raise ValueError(f"{len(baseline)} rounds of the baseline and {len(optimized)} of the other")
    pairs = zip(baseline, optimized, strict=True)
    found = [theirs / ours if lower_is_better else ours / theirs for theirs, ours in pairs]
    return Ratio(statistics.median(found), min(found), max(found))
