from __future__ import annotations

import pytest

from deployments.benchmark.ratios import LEAST_ROUNDS, ratio, spread


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


def test_the_value_is_a_rounds_own_ratio() -> None:
    found = ratio([10, 90, 20], [40, 90, 100], lower_is_better=False)
    assert (found.low, found.value, found.high) == (1, 4, 5), "and not that of the medians, 4.5"


def test_a_claim_among_the_rounds_is_not_told_apart() -> None:
    found = ratio([10, 10, 10], [30, 40, 50], lower_is_better=False)
    assert [found.against(claim) for claim in (2.9, 3.0, 4.0, 5.0, 5.1)] == [
        "above",
        "not told apart",
        "not told apart",
        "not told apart",
        "below",
    ]


def test_of_many_rounds_the_extremes_say_nothing() -> None:
    found = ratio([10] * 9, [10, 31, 40, 40, 40, 40, 40, 49, 900], lower_is_better=False)
    assert (found.low, found.value, found.high) == (3.1, 4, 4.9)
    assert found.against(3) == "above"


def test_of_six_rounds_the_extremes_hold_the_median() -> None:
    found = ratio([10] * LEAST_ROUNDS, [31, 40, 40, 40, 40, 49], lower_is_better=False)
    assert (found.low, found.value, found.high) == (3.1, 4, 4.9)


def test_rounds_are_pairs() -> None:
    with pytest.raises(ValueError, match="2 rounds"):
        ratio([1, 2], [1], lower_is_better=False)


def test_a_spread_is_median_and_extremes() -> None:
    found = spread([3, 1, 2])
    assert (found.low, found.median, found.high) == (1, 2, 3)
