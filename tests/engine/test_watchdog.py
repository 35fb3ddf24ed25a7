"""What is taken for hanging, and what is not."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import stacks
from engine.watchdog import Suspect, Turns, Watchdog

LIMIT_S = 30.0


class Steps:
    """Work whose age the test says."""

    def __init__(self) -> None:
        self.age_s = 0.0

    def busy_s(self) -> float:
        return self.age_s


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def watchdog(steps: Steps, tmp_path: Path) -> Watchdog:
    return Watchdog("m:bf16", tmp_path, [Suspect("step", steps.busy_s, LIMIT_S)])


def test_a_step_that_hangs_is_told_once_with_all_stacks(
    watchdog: Watchdog, steps: Steps, caplog: pytest.LogCaptureFixture
) -> None:
    inside, free = threading.Event(), threading.Event()

    def stuck_for_ever() -> None:
        inside.set()
        free.wait(30.0)

    thread = threading.Thread(target=stuck_for_ever, name="engine-loop")
    thread.start()
    assert inside.wait(30.0)
    steps.age_s = LIMIT_S + 1
    (written,) = watchdog.look()
    steps.age_s += 1
    assert watchdog.look() == []
    free.set()
    thread.join(30.0)
    text = written.read_text(encoding="utf-8")
    assert "step of m:bf16 has been at one thing for more than 30 s" in text
    assert "Thread engine-loop (" in text
    assert "stuck_for_ever" in text
    assert str(written) in caplog.text
    assert watchdog.stalls() == {"step": 1}


def test_the_next_step_that_hangs_is_told_again(watchdog: Watchdog, steps: Steps) -> None:
    for age_s, found in ((31.0, 1), (0.0, 0), (2.0, 0), (33.0, 1)):
        steps.age_s = age_s
        assert len(watchdog.look()) == found
    assert watchdog.stalls() == {"step": 2}


@given(st.lists(st.floats(0.0, LIMIT_S), max_size=50), st.floats(0.0, 1000.0))
def test_nothing_is_said_of_steps_within_the_limit(ages_s: list[float], late_s: float) -> None:
    steps = Steps()
    suspect = Suspect("step", steps.busy_s, LIMIT_S)
    for age_s in ages_s:
        steps.age_s = age_s
        assert not suspect.hangs(late_s)


def test_a_machine_that_slept_is_no_stall(watchdog: Watchdog, steps: Steps) -> None:
    steps.age_s = 1.0
    assert watchdog.look() == []
    steps.age_s = 3600.0
    assert watchdog.look(late_s=3598.0) == []
    steps.age_s = 3627.0
    assert watchdog.look() == [], "29 s of work"
    steps.age_s = 3632.0
    assert len(watchdog.look()) == 1


def test_stacks_that_cannot_be_written_are_logged(steps: Steps, caplog: pytest.LogCaptureFixture) -> None:
    steps.age_s = LIMIT_S + 1
    nowhere = Watchdog("m:bf16", Path("/nonexistent/folder"), [Suspect("step", steps.busy_s, LIMIT_S)])
    assert nowhere.look() == []
    assert "Thread MainThread" in caplog.text
    assert nowhere.stalls() == {"step": 1}


async def test_an_event_loop_that_turns_is_not_busy() -> None:
    turns = Turns(asyncio.get_running_loop())
    for _ in range(3):
        assert turns.busy_s() == 0.0
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_an_event_loop_that_is_held_up_is_busy() -> None:
    turns = Turns(asyncio.get_running_loop())
    turns.busy_s()
    time.sleep(0.01)  # noqa: ASYNC251
    assert turns.busy_s() >= 0.01
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert turns.busy_s() == 0.0


def test_an_event_loop_that_has_ended_is_not_busy() -> None:
    events = asyncio.new_event_loop()
    events.close()
    turns = Turns(events)
    assert turns.busy_s() == turns.busy_s() == 0.0


def test_it_looks_by_itself(watchdog: Watchdog, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.watchdog.EVERY_S", 0.01)
    steps.age_s = LIMIT_S + 100
    watchdog.start()
    deadline = time.monotonic() + 30.0
    while not watchdog.stalls()["step"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watchdog.stop()


def test_stacks_tell_no_values() -> None:
    secret = "".join(reversed("drowssap"))
    text = stacks.stacks()
    assert "test_stacks_tell_no_values" in text
    assert secret not in text
