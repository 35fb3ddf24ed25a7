from __future__ import annotations

from cluster.pipeline.clock import Beat, Phase
from cluster.pipeline.samples import Sample, shares
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
