"""What a pipeline's stages computed in a time: they remember their batches, where the replica traces requests."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from cluster.pipeline.clock import Traced
from engine.errors import StagelineError

log = logging.getLogger(__name__)

KEPT = 4096  # batches of each stage
AGAIN_S = 10.0  # stages that were replaced are told again after so long


class Traceable(Protocol):
    """A pipeline (`cluster.pipeline.pipeline.Pipeline`)."""

    def trace(self, *, on: bool) -> None:
        """Has the stages remember the times of each batch."""

    def take_trace(self) -> list[list[Traced]]:
        """What each stage remembered since the last call."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage did in a time: batches, of all requests that were under way, from the first's begin to the last's
    end by the wall clock, and how long it computed and sent."""

    index: int
    first_s: float
    last_s: float
    batches: int
    busy_s: float
    sending_s: float


class StageTimes:
    """Its methods may be called from any thread."""

    def __init__(self, pipeline: Traceable) -> None:
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._batches: list[deque[Traced]] = []
        self._told_s = float("-inf")

    def begin(self) -> None:
        """Has the stages remember, also those that were replaced since."""
        with self._lock:
            if time.monotonic() - self._told_s < AGAIN_S:
                return
            self._told_s = time.monotonic()
            try:
                self._pipeline.trace(on=True)
            except StagelineError as error:
                log.info("stages cannot be traced: %s", error)

    def between(self, start_s: float, end_s: float) -> list[Work]:
        """Of each stage that computed anything in that time; nothing where the stages cannot be asked."""
        with self._lock:
            try:
                for index, taken in enumerate(self._pipeline.take_trace()):
                    if index == len(self._batches):
                        self._batches.append(deque(maxlen=KEPT))
                    self._batches[index].extend(taken)
            except StagelineError as error:
                log.info("stages cannot be traced: %s", error)
            return [
                work for index, batches in enumerate(self._batches) if (work := _work(index, batches, start_s, end_s))
            ]


def _work(index: int, batches: deque[Traced], start_s: float, end_s: float) -> Work | None:
    within = [one for one in batches if one.computed > start_s and one.started < end_s]
    if not within:
        return None
    return Work(
        index,
        first_s=max(start_s, within[0].started),
        last_s=min(end_s, within[-1].computed),
        batches=len(within),
        busy_s=sum(min(one.computed, end_s) - max(one.started, start_s) for one in within),
        sending_s=sum(one.sent - one.computed for one in within),
    )
