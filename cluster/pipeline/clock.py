"""What a stage does with its time. Its computing thread writes, any thread reads."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from enum import Enum

TRACE_BATCHES = 20_000
FIRST_BATCH_S = 300.0  # what a first batch may take longer than others: it may compile


class Phase(Enum):
    """What the computing thread is at. IDLE: it serves no ring."""

    IDLE = "idle"
    WAITING = "waiting"
    BUSY = "busy"
    SENDING = "sending"


@dataclass(frozen=True, slots=True)
class Beat:
    """A stage's sign of life. Seconds and batches are totals since its process was made; `phase_s` is how long the
    present phase lasts, `number` the batch that it is at or waits for, in this epoch."""

    epoch: int
    number: int
    phase: Phase
    phase_s: float
    batches: int
    busy_s: float
    waiting_s: float
    sending_s: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Traced:
    """A batch's way through one stage, in seconds since 1970. `rows` is the first tensor's first dimension."""

    number: int
    kind: str
    rows: int
    received: float
    started: float
    computed: float
    sent: float


class StageClock:
    """Adds up phases. What is written is replaced as a whole, so that a reader never sees half of a change."""

    def __init__(self) -> None:
        self._state = (Phase.IDLE, time.perf_counter(), 0, 0, dict.fromkeys(Phase, 0.0))
        self.tracing = False
        self._trace: deque[Traced] = deque(maxlen=TRACE_BATCHES)

    def enter(self, phase: Phase, number: int = 0, batches: int = 0) -> None:
        """Begins a phase, at the batch of this number, with so many batches done since the last change."""
        before, since, _, done, totals = self._state
        now = time.perf_counter()
        self._state = (phase, now, number, done + batches, {**totals, before: totals[before] + now - since})

    def beat(self, epoch: int, rss_bytes: int) -> Beat:
        phase, since, number, batches, totals = self._state
        lasted = time.perf_counter() - since
        totals = {**totals, phase: totals[phase] + lasted}
        busy, waiting, sending = totals[Phase.BUSY], totals[Phase.WAITING], totals[Phase.SENDING]
        return Beat(epoch, number, phase, lasted, batches, busy, waiting, sending, rss_bytes)

    def busy_s(self) -> float:
        """For how long it has been at the present batch, a first one less what it may take longer; 0 while at none."""
        phase, since, _, batches, _ = self._state
        if phase is not Phase.BUSY:
            return 0.0
        return max(0.0, time.perf_counter() - since - (0.0 if batches else FIRST_BATCH_S))

    def trace(self, batch: Traced) -> None:
        self._trace.append(batch)

    def take_trace(self) -> list[Traced]:
        """What was traced since the last time, the oldest first; of the newest `TRACE_BATCHES`."""
        taken = []
        while self._trace:
            taken.append(self._trace.popleft())
        return taken
