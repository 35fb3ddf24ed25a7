from __future__ import annotations

import pytest

from cluster.pipeline.clock import Beat, Phase
from cluster.pipeline.samples import Sample, shares, shares_between
from cluster.pipeline.state import Shares


def beat(busy_s: float, waiting_s: float, sending_s: float) -> Beat:
    return Beat(1, 0, Phase.BUSY, 0.0, 0, busy_s, waiting_s, sending_s, 0)


def test_shares_of_the_time_between_two_samples() -> None:
    first, last = Sample(100.0, 50.0, beat(1.0, 2.0, 3.0)), Sample(110.0, 58.0, beat(7.0, 5.0, 4.0))
    assert shares(first, last) == Shares(busy=0.6, waiting=0.3, sending=0.1, active=0.8)


def test_shares_stay_between_0_and_1() -> None:
    """Clocks of two processes are compared, so that a little may be missing or too much."""
    first, last = Sample(100.0, 51.0, beat(1.0, 2.0, 0.0)), Sample(110.0, 50.0, beat(11.1, 2.0, 0.0))
    assert shares(first, last) == Shares(busy=1.0)
    assert shares(last, last) == Shares()


SAMPLES = [Sample(100.0 + second, second / 2, beat(busy, 0.0, 0.0)) for second, busy in enumerate((0, 1, 1, 1.5, 2))]
"""A second apart: busy all of the first second, none of the second, half of the third and the fourth."""


@pytest.mark.parametrize(
    ("start", "end", "busy"),
    [
        (100.0, 101.0, 1.0),
        (101.2, 101.8, 0.0),
        (101.0, 103.0, 0.25),
        (100.5, 101.5, 0.5),
        (90.0, 101.0, 1.0),
        (103.5, 110.0, 0.5),
        (0.0, 1000.0, 0.5),
    ],
)
def test_shares_between_the_samples_around_a_time(start: float, end: float, busy: float) -> None:
    found = shares_between(SAMPLES, start, end)
    assert found is not None
    assert found.busy == busy


@pytest.mark.parametrize(("start", "end"), [(90.0, 100.0), (104.0, 105.0)])
def test_of_other_times_nothing_is_known(start: float, end: float) -> None:
    assert shares_between(SAMPLES, start, end) is None
    assert shares_between(SAMPLES[:1], 100.0, 101.0) is None
