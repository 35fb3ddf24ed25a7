"""Baseline against optimized: the ratio of medians over rounds, and how sure it is. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Spread:
    """Median of the rounds, and the least and the most of them."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times better; `low` to `high` hold 95% of the ratios that the same rounds, drawn anew, would give."""

    value: float
    low: float
    high: float


def spread(samples: Sequence[float]) -> Spread:
    return Spread(statistics.median(samples), min(samples), max(samples))


def ratio(baseline: Sequence[float], optimized: Sequence[float], *, lower_is_better: bool) -> Ratio:
    """Of samples by round, one of each server a round: rounds are drawn as pairs, as a slow minute slows both."""
    if len(baseline) != len(optimized) or not baseline:
        raise ValueError(f"{len(baseline)} rounds of the baseline and {len(optimized)} of the other")
    pairs = np.array([optimized, baseline] if lower_is_better else [baseline, optimized], dtype=float)
    draws = np.random.default_rng(0).integers(0, pairs.shape[1], (RESAMPLES, pairs.shape[1]))
    medians = np.median(pairs[:, draws], axis=2)  # (2, resamples)
    low, high = np.percentile(medians[1] / medians[0], (2.5, 97.5))
    value = np.median(pairs[1]) / np.median(pairs[0])
    return Ratio(float(value), float(low), float(high))
