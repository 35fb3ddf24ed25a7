"""How many requests are traced."""

from __future__ import annotations

import random

import pytest

from deployments.tracing.sampler import Sampler


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_quiet_server_traces_all(clock: Clock) -> None:
    sampler = Sampler(1.0, 5.0, clock)
    for _ in range(100):
        assert sampler.picks()
        clock.now += 0.201


@pytest.mark.parametrize(("per_second", "expected"), [(5.0, 5 + 50), (0.5, 1 + 5)])
def test_a_busy_one_traces_so_many_a_second(clock: Clock, per_second: float, expected: int) -> None:
    sampler, found = Sampler(1.0, per_second, clock), 0
    for _ in range(10_001):
        found += sampler.picks()
        clock.now += 0.001
    assert found == pytest.approx(expected, abs=1)


def test_quiet_hours_are_not_saved_up(clock: Clock) -> None:
    sampler = Sampler(1.0, 5.0, clock)
    clock.now += 3600.0
    assert sum(sampler.picks() for _ in range(100)) == 5


def test_what_the_share_leaves_out_takes_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(0.5, 2.0, clock)
    monkeypatch.setattr(random, "random", lambda: 0.5)
    assert not any(sampler.picks() for _ in range(10))
    monkeypatch.setattr(random, "random", lambda: 0.49)
    assert [sampler.picks() for _ in range(3)] == [True, True, False]


def test_no_share_is_no_trace(clock: Clock) -> None:
    assert not any(Sampler(0.0, 5.0, clock).picks() for _ in range(100))


def test_what_is_put_back_goes_to_another_one(clock: Clock) -> None:
    sampler = Sampler(1.0, 1.0, clock)
    assert [sampler.picks() for _ in range(2)] == [True, False]
    sampler.put_back()
    sampler.put_back()  # no more than a second's
    assert [sampler.picks() for _ in range(2)] == [True, False]
