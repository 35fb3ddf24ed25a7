"""Clocks of other nodes. Profiles of real stages: `test_pipeline.py`."""

from __future__ import annotations

import pytest

from cluster.pipeline.profile import clock_ahead


def test_the_quickest_look_at_a_clock_counts() -> None:
    looks = [(100.0, 150.9, 101.0), (102.0, 152.0005, 102.001), (103.0, 153.4, 103.5)]
    assert clock_ahead(looks) == pytest.approx(50.0)


def test_a_difference_within_the_looks_own_time_is_none() -> None:
    assert clock_ahead([(100.0, 100.0009, 100.001)]) == 0.0
    assert clock_ahead([]) == 0.0
