from __future__ import annotations

import pytest

from deployments.benchmark.ratios import ratio, spread


def test_rates_and_latencies_are_better_in_opposite_directions() -> None:
    assert ratio([10, 20, 30], [40, 60, 90], lower_is_better=False).value == 3
    assert ratio([40, 60, 90], [10, 20, 30], lower_is_better=True).value == 3


def test_rounds_that_agree_leave_no_doubt_and_others_do() -> None:
    sure = ratio([10, 10, 10], [40, 40, 40], lower_is_better=False)
    assert (sure.low, sure.value, sure.high) == (4, 4, 4)
    unsure = ratio([10, 10, 10], [20, 40, 80], lower_is_better=False)
    assert (unsure.low, unsure.value, unsure.high) == (2, 4, 8)


def test_a_minute_in_which_both_are_slow_does_not_make_the_ratio_unsure() -> None:
    found = ratio([10, 1, 20], [40, 4, 80], lower_is_better=False)
    assert (found.low, found.value, found.high) == (4, 4, 4)


def test_the_same_samples_give_the_same_interval() -> None:
    samples = ([10.0, 11.0, 13.0, 9.0], [30.0, 50.0, 35.0, 44.0])
    assert ratio(*samples, lower_is_better=False) == ratio(*samples, lower_is_better=False)


def test_rounds_are_pairs() -> None:
    with pytest.raises(ValueError, match="2 rounds"):
        ratio([1, 2], [1], lower_is_better=False)


def test_a_spread_is_median_and_extremes() -> None:
    found = spread([3, 1, 2])
    assert (found.low, found.median, found.high) == (1, 2, 3)
