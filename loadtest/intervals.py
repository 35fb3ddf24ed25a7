"""95% confidence intervals, without assumptions on how latencies are distributed.

A bound that is None cannot be given: the sample is too small for it. The upper one of a p99 takes 368 requests.

Requests are taken for independent of each other. Gaps between tokens are not: those of one request are alike. Their
intervals are therefore by request (`sizes`: how many of the values, in their order, belong to each request).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2
_FAR = 12.0  # standard deviations, beyond which there is nothing of a binomial distribution

Values = NDArray[np.float64]
Sizes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, and between what the true one is likely to be."""

    value: float
    low: float | None
    high: float | None


def percentile(ordered: Values, q: float) -> Estimate:
    """Of independent values in ascending order, `q` from 0 to 1; between two of them as numpy does. The interval is
    from one of the values to another: those that the binomial distribution says."""
    found = float(np.quantile(ordered, q))
    low, high = ranks(len(ordered), q)
    # Of very few values, the one that numpy interpolates may be outside of it: then the interval is that much wider.
    return Estimate(
        found,
        None if low is None else min(found, float(ordered[low - 1])),
        None if high is None else max(found, float(ordered[high - 1])),
    )


def clustered_percentile(values: Values, sizes: Sizes, q: float) -> Estimate:
    """Of values that come in clusters: how far the share of values below the percentile varies between clusters says
    how far `q` may be off, and that is looked up among the values (Woodruff, 1952)."""
    found = float(np.quantile(values, q))
    off = _half_width((values <= found).astype(np.float64), sizes)
    if off is None:
        return Estimate(found, None, None)
    low, high = q - off, q + off
    return Estimate(
        found,
        float(np.quantile(values, low)) if low > 0 else None,
        float(np.quantile(values, high)) if high < 1 else None,
    )


def mean(values: Values, sizes: Sizes | None = None) -> Estimate:
    """By Student's t; of values in clusters where `sizes` are given."""
    found = float(np.mean(values))
    off = _half_width(values, np.ones(len(values), np.int64) if sizes is None else sizes)
    return Estimate(found, None, None) if off is None else Estimate(found, found - off, found + off)


def share(count: int, of: int) -> Estimate:
    """Wilson's interval, which makes sense at 0 and at 1, too. Raises ValueError for a share of nothing."""
    if of < 1:
        raise ValueError("a share of nothing")
    z = NormalDist().inv_cdf(1 - _TAIL)
    found = count / of
    middle = (found + z * z / (2 * of)) / (1 + z * z / of)
    off = z / (1 + z * z / of) * math.sqrt(found * (1 - found) / of + (z / (2 * of)) ** 2)
    # Rounding must not leave the value outside.
    return Estimate(found, max(0.0, min(found, middle - off)), min(1.0, max(found, middle + off)))


def ranks(n: int, q: float) -> tuple[int | None, int | None]:
    """Which of `n` values in ascending order, counted from 1, the `q` quantile lies between with at least 95%."""
    if n < 1:
        return None, None
    first, cumulative = _binomial(n, q)
    below = int(np.searchsorted(cumulative, _TAIL, side="right"))  # so many have P(B <= k) <= tail
    low = first + below
    high = first + int(np.searchsorted(cumulative, 1 - _TAIL, side="left")) + 1
    return (low if low >= 1 else None), (high if high <= n else None)


def t_quantile(freedom: int) -> float:
    """Of Student's t, for a two-sided 95%: exact for 1 and 2 degrees of freedom, else within 0.2%."""
    p = 1 - _TAIL
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom == 2:
        return (2 * p - 1) * math.sqrt(2 / (1 - (2 * p - 1) ** 2))
    z = NormalDist().inv_cdf(p)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / float(freedom) ** power for power, term in enumerate(terms))


def _half_width(values: Values, sizes: Sizes) -> float | None:
    """Of the interval of a mean over clusters, each of which has at least one value."""
    clusters = len(sizes)
    if clusters < 2:
        return None
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    residuals = np.add.reduceat(values, starts) - values.mean() * sizes
    error = math.sqrt(clusters / (clusters - 1) * float(np.square(residuals).sum())) / len(values)
    return t_quantile(clusters - 1) * error


def _binomial(n: int, q: float) -> tuple[int, Values]:
    """(k, P(B <= k), P(B <= k + 1), ...) of so many as are not zero for certain."""
    deviation = math.sqrt(n * q * (1 - q))
    first = max(0, math.floor(n * q - _FAR * deviation - _FAR))
    last = min(n, math.ceil(n * q + _FAR * deviation + _FAR))
    k = np.arange(first, last, dtype=np.float64)
    steps = np.log((n - k) / (k + 1)) + math.log(q / (1 - q))
    logs = np.concatenate(([0.0], np.cumsum(steps)))
    shares = np.exp(logs - logs.max())
    return first, np.cumsum(shares / shares.sum())
