from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st

from engine.sampling.uniform import uniform


@given(st.integers(), st.integers(0, 2**31))
def test_is_a_number_from_zero_to_below_one_and_depends_on_nothing_else(seed: int, position: int) -> None:
    assert 0 <= uniform(seed, position) < 1
    assert uniform(seed, position) == uniform(seed, position)


def test_is_spread_evenly_over_positions_and_over_seeds() -> None:
    for numbers in ([uniform(7, i) for i in range(20_000)], [uniform(i, 7) for i in range(20_000)]):
        counts = [0] * 50
        for number in numbers:
            counts[int(number * 50)] += 1
        # Chi-squared with 49 degrees of freedom is above 85.4 once in a thousand times.
        assert sum((count - 400) ** 2 / 400 for count in counts) < 85.4


def test_neighbouring_seeds_and_positions_are_unrelated() -> None:
    for dx, dy in ((1, 0), (0, 1), (1, -1), (1, 1)):
        pairs = [(uniform(s, p), uniform(s + dx, p + dy)) for s in range(60) for p in range(1, 61)]
        assert abs(statistics.correlation(*map(list, zip(*pairs, strict=True)))) < 0.06


def test_no_two_seeds_give_shifted_copies() -> None:
    first = {uniform(0, i) for i in range(200)}
    for seed in (*range(1, 50), 0x9E3779B97F4A7C15, -0x9E3779B97F4A7C15):  # the step between positions
        assert not {uniform(seed, i) for i in range(50)} & first
