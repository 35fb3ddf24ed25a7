"""How many requests are traced."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.sampling import ParentBased
from opentelemetry.trace import SpanKind

from deployments.tracing.context import of_parent
from deployments.tracing.sampler import AtMostPerSecond

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def sampled(sampler: AtMostPerSecond, number: int = 0) -> bool:
    return sampler.should_sample(None, number, "POST", SpanKind.SERVER).decision.is_sampled()


def test_a_quiet_server_traces_all(clock: Clock) -> None:
    sampler = AtMostPerSecond(1.0, 5.0, clock)
    for number in range(100):
        assert sampled(sampler, number)
        clock.now += 0.201


@pytest.mark.parametrize(("per_second", "expected"), [(5.0, 5 + 50), (0.5, 1 + 5)])
def test_a_busy_one_traces_so_many_a_second(clock: Clock, per_second: float, expected: int) -> None:
    sampler, found = AtMostPerSecond(1.0, per_second, clock), 0
    for number in range(10_001):
        found += sampled(sampler, number)
        clock.now += 0.001
    assert found == pytest.approx(expected, abs=1)


def test_quiet_hours_are_not_saved_up(clock: Clock) -> None:
    sampler = AtMostPerSecond(1.0, 5.0, clock)
    clock.now += 3600.0
    assert sum(sampled(sampler, number) for number in range(100)) == 5


def test_what_the_share_leaves_out_takes_nothing(clock: Clock) -> None:
    sampler = AtMostPerSecond(0.5, 2.0, clock)
    assert not any(sampled(sampler, 2**64 - 1) for _ in range(10))
    assert [sampled(sampler, number) for number in range(3)] == [True, True, False]


def test_who_says_so_is_traced_all_the_same(clock: Clock) -> None:
    sampler = ParentBased(AtMostPerSecond(0.0, 1.0, clock))
    for number in range(10):
        assert sampler.should_sample(of_parent(CALLER), number, "POST").decision.is_sampled()
    assert not sampler.should_sample(None, 1, "POST").decision.is_sampled()


@pytest.fixture
def clock() -> Clock:
    return Clock()
