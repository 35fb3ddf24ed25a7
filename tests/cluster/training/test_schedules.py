from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import pytest

from cluster.training.recipe import ScheduleName
from cluster.training.schedules import rate


@pytest.mark.parametrize("schedule", get_args(ScheduleName))
def test_rises_in_a_line_to_the_peak_and_never_beyond(schedule: ScheduleName) -> None:
    rates = [rate(schedule, step, peak=0.5, warmup=10, total=100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.05 * (step + 1) for step in range(10)])
    assert max(rates) == pytest.approx(0.5)
    assert all(later <= earlier for earlier, later in pairwise(rates[9:]))


def test_inverse_square_root_knows_no_end() -> None:
    for total in (100, 10_000):
        assert rate("inverse-sqrt", 399, peak=1.0, warmup=100, total=total) == pytest.approx(math.sqrt(100 / 400))


def test_linear_and_cosine_end_at_nothing() -> None:
    for schedule in ("linear", "cosine"):
        assert rate(schedule, 100, peak=1.0, warmup=10, total=100) == pytest.approx(0)
        assert rate(schedule, 55, peak=1.0, warmup=10, total=100) == pytest.approx(0.5)


def test_no_warmup_starts_at_the_peak() -> None:
    for schedule in get_args(ScheduleName):
        assert rate(schedule, 0, peak=0.3, warmup=0, total=10) == pytest.approx(0.3)
