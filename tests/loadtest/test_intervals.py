from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.intervals import clustered_percentile, mean, percentile, ranks, share, t_quantile


def at_most(n: int, q: float, k: int) -> float:
    """P(B <= k), summed as in the textbook."""
    return sum(math.comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(k + 1))


@pytest.mark.parametrize(
    ("n", "q", "expected"),
    [
        (10, 0.5, (2, 9)),  # as the tables of the sign test have it
        (20, 0.5, (6, 15)),
        (5, 0.5, (None, None)),  # 1 in 16 that all are on one side
        (6, 0.5, (1, 6)),
        (367, 0.99, (359, None)),
        (368, 0.99, (360, 368)),  # 0.99 ** 368 is the first below 2.5%
        (0, 0.5, (None, None)),
    ],
)
def test_ranks(n: int, q: float, expected: tuple[int | None, int | None]) -> None:
    assert ranks(n, q) == expected


@given(st.integers(1, 400), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_ranks_are_the_narrowest_that_hold_each_tail(n: int, q: float) -> None:
    low, high = ranks(n, q)
    if low is None:
        assert at_most(n, q, 0) > 0.025 - 1e-9
    else:
        assert at_most(n, q, low - 1) <= 0.025 + 1e-9
        assert at_most(n, q, low) > 0.025 - 1e-9
    if high is None:
        assert at_most(n, q, n - 1) < 0.975 + 1e-9
    else:
        assert at_most(n, q, high - 1) >= 0.975 - 1e-9
        assert high == 1 or at_most(n, q, high - 2) < 0.975 + 1e-9


def test_ranks_of_a_million_are_those_of_the_normal_distribution() -> None:
    assert ranks(1_000_000, 0.5) == pytest.approx((500_000 - 1.96 * 500, 500_000 + 1.96 * 500), abs=2)


def test_percentiles_are_interpolated_as_numpy_does() -> None:
    ordered = np.array([1.0, 2.0, 3.0, 4.0, 10.0, 11.0, 12.0, 13.0, 14.0, 20.0])
    found = percentile(ordered, 0.5)
    assert (found.value, found.low, found.high) == (10.5, 2.0, 14.0)
    assert percentile(ordered, 0.9).value == pytest.approx(14.6)
    assert percentile(ordered, 0.99).high is None


def test_student() -> None:
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}
    assert {freedom: t_quantile(freedom) for freedom in table} == pytest.approx(table, rel=2e-3)


def test_mean() -> None:
    found = mean(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    off = 2.776 * math.sqrt(2.5 / 5)
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3 - off, 3 + off), rel=1e-3)
    alone = mean(np.array([7.0]))
    assert (alone.value, alone.low, alone.high) == (7.0, None, None)


def test_share_as_wilson() -> None:
    found = share(8, 10)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    none = share(0, 10)
    assert (none.value, none.low, none.high) == pytest.approx((0, 0, 0.2775), abs=1e-4)
    with pytest.raises(ValueError, match="nothing"):
        share(0, 0)


@given(st.integers(1, 10_000), st.data())
def test_a_share_is_within_its_interval(of: int, data: st.DataObject) -> None:
    found = share(data.draw(st.integers(0, of)), of)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_values_that_come_in_clusters_say_less_than_as_many_alone() -> None:
    """Thirty requests, in each of which all gaps are the same: there are thirty values, not three thousand."""
    rng = np.random.default_rng(1)
    once = rng.exponential(1.0, 30)
    many = np.repeat(once, 100)
    sizes = np.full(30, 100)
    assert dataclasses.astuple(mean(many, sizes)) == pytest.approx(dataclasses.astuple(mean(once)))
    alone, clustered = percentile(np.sort(many), 0.5), clustered_percentile(many, sizes, 0.5)
    assert alone.low is not None
    assert alone.high is not None
    assert clustered.low is not None
    assert clustered.high is not None
    assert clustered.value == alone.value
    assert clustered.high - clustered.low > 3 * (alone.high - alone.low)


def test_clusters_of_one_are_values_alone() -> None:
    values = np.random.default_rng(2).exponential(1.0, 2000)
    sizes = np.ones(2000, np.int64)
    for q in (0.5, 0.9):
        alone, clustered = percentile(np.sort(values), q), clustered_percentile(values, sizes, q)
        assert dataclasses.astuple(clustered) == pytest.approx(dataclasses.astuple(alone), rel=0.02)
    few = clustered_percentile(values[:50], sizes[:50], 0.99)
    assert few.high is None
    one = clustered_percentile(values[:50], np.array([50]), 0.5)
    assert (one.low, one.high) == (None, None)


def test_intervals_hold_the_true_value_as_often_as_they_say() -> None:
    """Of 400 samples of 200 requests with 5 gaps each, alike within a request: 95% give or take."""
    rng = np.random.default_rng(3)
    sizes = np.full(200, 5)
    truth = np.quantile(_alike(np.random.default_rng(4), 40_000), 0.9)
    held = 0
    for _ in range(400):
        found = clustered_percentile(_alike(rng, 200), sizes, 0.9)
        assert found.low is not None
        assert found.high is not None
        held += bool(found.low <= truth <= found.high)
    assert 0.91 <= held / 400 <= 0.99


def _alike(rng: np.random.Generator, requests: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    of_each = np.repeat(rng.exponential(1.0, requests), 5)
    return of_each + rng.exponential(0.5, 5 * requests)
