from __future__ import annotations

import pytest

from cluster.pipeline import clock
from cluster.pipeline.clock import Phase, StageClock, Traced


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, for the test to change."""
    times = [0.0]
    monkeypatch.setattr("cluster.pipeline.clock.time.perf_counter", lambda: times[0])
    return times


def test_phases_add_up_the_present_one_included(now: list[float]) -> None:
    stage = StageClock()
    for phase, seconds, batches in [(Phase.WAITING, 1.0, 0), (Phase.BUSY, 5.0, 0), (Phase.SENDING, 2.0, 0)]:
        stage.enter(phase, 7, batches)
        now[0] += seconds
    stage.enter(Phase.WAITING, 8, batches=1)
    now[0] += 0.5
    beat = stage.beat(3, 100)
    assert (beat.waiting_s, beat.busy_s, beat.sending_s, beat.batches) == (1.5, 5.0, 2.0, 1)
    assert (beat.epoch, beat.number, beat.phase, beat.phase_s, beat.rss_bytes) == (3, 8, Phase.WAITING, 0.5, 100)


def test_the_trace_is_taken_once_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "TRACE_BATCHES", 3)
    stage = StageClock()
    batches = [Traced(number, "x", 1, 0.0, 0.0, 0.0, 0.0) for number in range(5)]
    for batch in batches:
        stage.trace(batch)
    assert stage.take_trace() == batches[2:]
    assert stage.take_trace() == []
