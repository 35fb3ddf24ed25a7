"""What the watch makes of calls that are ready, without Ray."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.pipeline import watch as watching
from cluster.pipeline.clock import Beat, Phase
from cluster.pipeline.limits import Limits
from cluster.pipeline.watch import Watch, Watched

BEAT = Beat(1, 0, Phase.WAITING, 0.0, 0, 0.0, 0.0, 0.0, 100)
LIMITS = Limits()
WAIT_S = 20.0


class Calls:
    """Stands for Ray: all calls in `ready` can be had, with a beat."""

    def __init__(self) -> None:
        self.ready: set[str] = set()
        self.came = threading.Event()

    def wait(self, calls: list[str], *, num_returns: int, timeout: float) -> tuple[list[str], list[str]]:
        self.came.wait(timeout / 10)
        ready = [call for call in calls if call in self.ready][:num_returns]
        return ready, [call for call in calls if call not in ready]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(watching, "ray", calls)
    monkeypatch.setattr(watching, "answer", lambda call: BEAT if call.startswith("beat") else "it ended")
    return calls


@pytest.fixture
def start() -> Iterator[Callable[..., Watch]]:
    made = []

    def start(on_loss: Callable[[int, str], None] = lambda *_: None, look: Callable[[], Any] = lambda: None) -> Watch:
        made.append(Watch(LIMITS, on_loss, look, lambda: 0.0))
        return made[-1]

    yield start
    for watch in made:
        watch.close()


class Actor:
    def __init__(self, index: int) -> None:
        self.beat = SimpleNamespace(remote=lambda: f"beat {index}")


def owing(index: int, asked: float) -> Watched:
    return Watched(Actor(index), f"serve {index}", f"beat {index}", asked)


def test_all_that_is_ready_is_taken_before_anybody_is_called_frozen(
    calls: Calls, start: Callable[..., Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watch = start()
    stages = [owing(index, asked=now - LIMITS.heartbeat_s - 1.0) for index in range(3)]
    calls.ready = {"beat 0", "beat 1", "beat 2"}
    assert watch._look(stages) is None
    assert [len(stage.samples) for stage in stages] == [1, 1, 1]
    calls.ready = set()
    stages[1] = owing(1, asked=now - LIMITS.heartbeat_s - 1.0)
    assert watch._look(stages) == "stage 1 has not answered for 2.0 s"
    calls.ready = {"serve 2"}
    assert watch._look([owing(0, now), owing(1, now), owing(2, now)]) == "stage 2 has stopped: it ended"


def test_a_standstill_of_this_process_is_no_fault_of_the_stages(calls: Calls, start: Callable[..., Watch]) -> None:
    watch = start()
    watch.close()
    stage = owing(0, asked=time.monotonic())
    watch._looked = time.monotonic()
    assert watch._look([stage]) is None
    stage.asked -= 10.0
    watch._looked -= 10.0
    assert watch._look([stage]) is None, "it had no time to hear the answer"
    stage.asked -= 10.0
    assert watch._look([stage]) == "stage 0 has not answered for 2.0 s"


def test_a_loss_is_told_with_its_epoch(calls: Calls, start: Callable[..., Watch]) -> None:
    told: list[tuple[int, str]] = []
    heard = threading.Event()

    def on_loss(epoch: int, reason: str) -> None:
        told.append((epoch, reason))
        heard.set()

    watch = start(on_loss, lambda: "the link is gone")
    stage = owing(0, 0.0)
    watch.follow(7, [stage.actor], [stage.serve])
    assert heard.wait(WAIT_S)
    assert told == [(7, "the link is gone")]
