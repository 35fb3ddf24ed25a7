"""The encoder's step: begin batches, take in the oldest one's vectors, hand them out. `engine/loop.py` drives it."""

from __future__ import annotations

import bisect
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.encoder.batching import batch_size, fair_share, patience
from engine.encoder.request import Encoded, EncodeRequest
from engine.errors import DeadlineExceeded, InvalidRequest, ReplicaLost, StagelineError, StageLost
from engine.models import EncoderArchitecture
from engine.models.packed import Packed, Text, pack
from engine.pipeline.blame import Blame
from engine.pipeline.runner import Runner

log = logging.getLogger(__name__)

Output = tuple[str, Encoded]  # request id and its answer
Vectors = NDArray[np.float32]  # (B, width)


@dataclass(frozen=True, slots=True)
class EncodeWork:
    """One batch of texts, on the CPU."""

    packed: Packed


@dataclass(frozen=True, slots=True)
class EncoderLimits:
    """What one engine takes: tokens of a text, tokens and texts of a batch, texts in the queue behind it."""

    max_model_len: int
    max_batch_tokens: int
    max_running: int
    max_waiting: int


@dataclass(frozen=True, slots=True)
class EncoderStats:
    """A snapshot. `running` are the texts of the batches under way; where none are between steps, those of the last
    batch while others wait.

    The second group only ever grows.
    """

    running: int
    waiting: int
    texts: int
    prompt_tokens: int
    padding_tokens: int  # that batches would have had, each text as long as the longest
    steps: int


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A request that is not answered yet."""

    request: EncodeRequest
    order: int  # of arrival

    @property
    def rank(self) -> tuple[int, int]:
        return self.request.priority, self.order


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch under way. What is aborted meanwhile stays in it; its vector is dropped."""

    entries: list[Entry]
    started_s: float


class EncoderEngine:
    """Batches texts by their tokens. State has one owner: whoever calls `add`, `abort` and `step`.

    `kernels` is the name of those that compute.
    """

    def __init__(
        self,
        runner: Runner[EncodeWork, Vectors],
        limits: EncoderLimits,
        arch: EncoderArchitecture,
        kernels: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.blame = Blame()
        self.runner = runner
        self.limits = limits
        self.arch = arch
        self.kernels = kernels
        self.clock = clock
        self.requests: dict[str, Entry] = {}
        self.queue: list[Entry] = []  # always sorted by rank
        self.in_flight: deque[Flight] = deque()
        self.orders = itertools.count()
        self.last_step_tokens = self.last_batch = 0
        self.last_end_s = 0.0
        self.texts = self.prompt_tokens = self.padding_tokens = self.steps = 0

    def prepare(self, request: EncodeRequest) -> None:
        """Checks a request. Touches no state: may be called off the loop. Raises InvalidRequest."""
        tokens, types, arch = request.tokens, request.types, self.arch
        if not tokens:
            raise InvalidRequest("the text is empty", param="input")
        if len(tokens) > self.limits.max_model_len:
            raise InvalidRequest(
                f"the text has {len(tokens)} tokens; the model takes {self.limits.max_model_len}. Shorten it, or "
                "ask for truncation.",
                param="input",
            )
        if not 0 <= min(tokens) <= max(tokens) < arch.vocab_size:
            raise InvalidRequest(f"token ids go from 0 to {arch.vocab_size - 1}", param="input")
        if types and len(types) != len(tokens):
            raise InvalidRequest(f"{len(types)} segment ids for {len(tokens)} tokens", param="input")
        if types and not 0 <= min(types) <= max(types) < max(arch.token_types, 1):
            raise InvalidRequest(f"segment ids go from 0 to {max(arch.token_types, 1) - 1}", param="input")

    def add(self, request: EncodeRequest, prepared: None = None) -> None:
        """Queues a prepared request. Raises InvalidRequest for an id in use."""
        if request.id in self.requests:
            raise InvalidRequest(f"request id {request.id!r} is in use", param="request_id")
        entry = Entry(request, next(self.orders))
        self.requests[request.id] = entry
        self._queue(entry)

    def abort(self, request_id: str) -> bool:
        """Takes a request out; nothing more is reported of it. False if it is not here."""
        gone = self.requests.pop(request_id, None)
        if gone is None:
            return False
        self.queue = [entry for entry in self.queue if entry is not gone]
        return True

    @property
    def idle(self) -> bool:
        return not self.requests and not self.in_flight and not self.runner.broken

    @property
    def patience_s(self) -> float:
        """See `patience`."""
        if len(self.in_flight) >= self.runner.depth:
            return 0.0
        count, since_s = self._batch_size(), self.clock() - self.last_end_s
        return patience(count, count < len(self.queue), self.last_batch, since_s, bool(self.in_flight))

    def step(self) -> list[Output]:
        """Begins as many batches as may be under way, and waits for the oldest; returns its answers.

        Where a stage is lost, what was under way goes back to the queue. Raises ReplicaLost where the runner cannot be
        repaired.
        """
        outputs = self._expire()
        self.last_step_tokens = 0
        try:
            if self.runner.broken:
                raise StageLost("a stage was lost")
            while self.queue and len(self.in_flight) < self.runner.depth:
                self._launch()
            if self.in_flight:
                outputs += self._collect()
        except StageLost:
            outputs += self._start_over()
        return outputs

    def failed(self, error: StagelineError) -> Encoded:
        """The answer to a text that cannot be encoded."""
        return Encoded(error=error)

    def close(self) -> None:
        """Ends what the runner has elsewhere."""
        self.runner.close()

    def stats(self) -> EncoderStats:
        under_way = sum(len(flight.entries) for flight in self.in_flight)
        return EncoderStats(
            running=under_way or (self.last_batch if self.queue else 0),
            waiting=len(self.queue),
            texts=self.texts,
            prompt_tokens=self.prompt_tokens,
            padding_tokens=self.padding_tokens,
            steps=self.steps,
        )

    def _queue(self, entry: Entry) -> None:
        bisect.insort(self.queue, entry, key=lambda one: one.rank)

    def _batch_size(self) -> int:
        most, free = self.limits.max_batch_tokens, self.runner.depth - len(self.in_flight)
        if free > 1:
            most = fair_share(sum(len(entry.request.tokens) for entry in self.queue), free, most)
        return batch_size((len(entry.request.tokens) for entry in self.queue), most, self.limits.max_running)

    def _expire(self) -> list[Output]:
        """Ends requests whose deadline passed; computing them would only keep others waiting."""
        now = self.clock()
        every = [entry.request for entry in self.requests.values()]
        late = [r for r in every if r.deadline_s is not None and r.deadline_s <= now]
        for request in late:
            self.abort(request.id)
        error = "the request's deadline passed before its text was encoded"
        return [(request.id, self.failed(DeadlineExceeded(error))) for request in late]

    def _launch(self) -> None:
        count, now = self._batch_size(), self.clock()
        entries = self.queue[:count]
        texts = [Text(entry.request.tokens, entry.request.types) for entry in entries]
        self.runner.submit(EncodeWork(pack(texts, self.arch)))
        del self.queue[:count]
        self.in_flight.append(Flight(entries, now))

    def _collect(self) -> list[Output]:
        try:
            values = self.runner.answer()
        except (StageLost, ReplicaLost):
            raise
        except Exception as error:
            flight = self.in_flight.popleft()
            if any(self.requests.get(entry.request.id) is entry for entry in flight.entries):
                raise
            log.warning("a batch that nobody waits for any more failed: %s", error)
            return []
        flight = self.in_flight.popleft()
        self.last_end_s = self.clock()
        self.last_batch = len(flight.entries)
        self.last_step_tokens = sum(len(entry.request.tokens) for entry in flight.entries)
        self.texts += self.last_batch
        self.prompt_tokens += self.last_step_tokens
        longest = max(len(entry.request.tokens) for entry in flight.entries)
        self.padding_tokens += longest * self.last_batch - self.last_step_tokens
        self.steps += 1
        outputs = []
        for entry, row in zip(flight.entries, values, strict=True):
            request = entry.request
            if self.requests.get(request.id) is not entry:
                continue  # aborted meanwhile
            del self.requests[request.id]
            self.blame.gained(request.id)
            queued = max(0.0, flight.started_s - (request.arrival_s or flight.started_s))
            outputs.append((request.id, Encoded(row.copy(), queued, self.last_end_s - flight.started_s)))
        return outputs

    def _start_over(self) -> list[Output]:
        """Puts what was under way back to where it stood in the queue, and has the runner repaired."""
        entries = [entry for flight in self.in_flight for entry in flight.entries]
        lost = [entry for entry in entries if self.requests.get(entry.request.id) is entry]
        for entry in lost:
            self._queue(entry)
        self.in_flight.clear()
        guilty = self.blame.lost(entry.request.id for entry in lost)
        self.runner.repair()
        for request_id in guilty:
            self.abort(request_id)
        return [(request_id, self.failed(self.blame.error())) for request_id in guilty]
