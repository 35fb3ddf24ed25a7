"""Watches over the stages of a pipeline, from a thread: who ended, who froze, and what they do with their time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from cluster.pipeline.actors import Actor, answer, in_short
from cluster.pipeline.clock import Beat, Phase
from cluster.pipeline.limits import Limits
from cluster.pipeline.samples import Sample, shares, shares_between
from cluster.pipeline.state import Shares

log = logging.getLogger(__name__)

_LOOK_S = 0.1  # a change of what is watched is noticed within this
_LATE = 21  # of a stage's samples: shares of late are those of the last 10 s
_KEPT = 2400  # of a stage's samples: 20 minutes, a megabyte


@dataclass(slots=True)
class Watched:
    """A stage as it is watched. `serve` is its long-running call, `owed` a call for a beat since `asked`."""

    actor: Actor
    serve: Any
    owed: Any = None
    asked: float = 0.0
    stuck: bool = False
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def silent_s(self, now: float) -> float:
        """For how long it has owed a beat."""
        return 0.0 if self.owed is None else now - self.asked


class Watch:
    """Calls `on_loss` with the epoch and the reason, once after each `follow`, on its own thread. `look` is called ten
    times a second meanwhile, and returns what else was lost, if anything."""

    def __init__(
        self,
        limits: Limits,
        on_loss: Callable[[int, str], None],
        look: Callable[[], str | None],
        active_s: Callable[[], float],
    ) -> None:
        self._limits, self._on_loss, self._look_beside, self._active_s = limits, on_loss, look, active_s
        self._lock = threading.Lock()
        self._epoch = 0
        self._looked = time.monotonic()
        self._stages: list[Watched] = []
        self._judging = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pipeline-watch", daemon=True)
        self._thread.start()

    def follow(self, epoch: int, actors: Sequence[Actor], serving: Sequence[Any]) -> None:
        """Begins to watch the stages of a new epoch by their actors and their calls of `serve`."""
        with self._lock:
            self._epoch = epoch
            before = {stage.actor: stage.samples for stage in self._stages}
            self._stages = [Watched(actor, serve) for actor, serve in zip(actors, serving, strict=True)]
            for stage in self._stages:
                stage.samples = before.get(stage.actor, stage.samples)
            self._judging = True

    def rest(self) -> list[tuple[float, bool]]:
        """Until the next `follow` nothing is a loss. Returns for each stage for how long it has owed a beat and whether
        it is stuck at a batch."""
        with self._lock:
            self._judging = False
            now = time.monotonic()
            return [(stage.silent_s(now), stage.stuck) for stage in self._stages]

    def last(self, index: int) -> tuple[Beat | None, Shares]:
        """A stage's newest beat, and its shares of late."""
        with self._lock:
            samples = self._stages[index].samples if index < len(self._stages) else ()
            if not samples:
                return None, Shares()
            return samples[-1].beat, shares(samples[max(0, len(samples) - _LATE)], samples[-1])

    def between(self, start: float, end: float) -> list[Shares]:
        """All stages' shares in a time by `time.monotonic`, of the last 20 minutes, as far as something is known of all
        of them: from when on the last one was replaced. Empty where that is no part of it."""
        with self._lock:
            known = [list(stage.samples) for stage in self._stages]
        if not known or not all(known):
            return []
        start = max(start, *(samples[0].at for samples in known))
        found = [shares_between(samples, start, end) for samples in known]
        return [one for one in found if one is not None] if None not in found else []

    def close(self) -> None:
        self._ended.set()
        self._thread.join(timeout=10.0)

    def _run(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                stages, epoch = self._stages if self._judging else [], self._epoch
            if not stages:
                self._looked = time.monotonic()
                self._ended.wait(_LOOK_S)
                continue
            try:
                reason = self._look(stages)
            except Exception as error:  # such as Ray being shut down: whoever waits must not wait for ever
                log.exception("watching the stages failed")
                reason = f"the stages cannot be watched: {error}"
            with self._lock:
                if reason is None or stages is not self._stages or not self._judging:
                    continue
                self._judging = False
            self._on_loss(epoch, reason)

    def _look(self, stages: list[Watched]) -> str | None:
        """Waits a moment for news, asks for beats that are due. Returns what was lost, if anything."""
        now = time.monotonic()
        stood_s, self._looked = now - self._looked, now
        for stage in stages:
            if stood_s > self._limits.beat_every_s:  # this process stood still; what came meanwhile is not read yet
                stage.asked += stood_s
            if stage.owed is None and now - stage.asked >= self._limits.beat_every_s:
                stage.owed, stage.asked = stage.actor.beat.remote(), now
        calls = [stage.serve for stage in stages] + [stage.owed for stage in stages if stage.owed is not None]
        ready, _ = ray.wait(calls, num_returns=1, timeout=_LOOK_S)
        if ready:
            ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
        now = time.monotonic()
        for index, stage in enumerate(stages):
            if stage.serve in ready:
                return f"stage {index} has stopped: {in_short(answer(stage.serve))}"
            if stage.owed in ready:
                beat = answer(stage.owed)
                if not isinstance(beat, Beat):
                    return f"stage {index} does not answer: {in_short(beat)}"
                stage.owed = None
                stage.samples.append(Sample(now, self._active_s(), beat))
                stage.stuck = beat.phase is Phase.BUSY and beat.phase_s > self._limits.step_s
            if stage.stuck:
                return f"stage {index} has been at one batch for more than {self._limits.step_s:.0f} s"
            if stage.silent_s(now) > self._limits.heartbeat_s:
                return f"stage {index} has not answered for {self._limits.heartbeat_s:.1f} s"
        return self._look_beside()
