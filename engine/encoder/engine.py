"""The encoder's step: take a batch, run it, hand out each text's vector. `engine/loop.py` drives it."""

from __future__ import annotations

import bisect
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.encoder.batching import batch_size, patience
from engine.encoder.model import TextModel
from engine.encoder.request import Encoded, EncodeRequest
from engine.errors import DeadlineExceeded, InvalidRequest, StagelineError
from engine.models.packed import Text, pack

Output = tuple[str, Encoded]  # request id and its answer


@dataclass(frozen=True, slots=True)
class EncoderLimits:
    """What one engine takes: tokens of a text, tokens and texts of a batch, texts in the queue behind it."""

    max_model_len: int
    max_batch_tokens: int
    max_running: int
    max_waiting: int


@dataclass(frozen=True, slots=True)
class EncoderStats:
    """A snapshot. Between steps nothing runs: `running` are the texts of the last batch while others wait, else 0.

    The second group only ever grows.
    """

    running: int
    waiting: int
    texts: int
    prompt_tokens: int
    steps: int


class EncoderEngine:
    """Batches texts by their tokens. State has one owner: whoever calls `add`, `abort` and `step`."""

    def __init__(
        self,
        model: TextModel,
        limits: EncoderLimits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.model = model
        self.limits = limits
        self.clock = clock
        self.requests: dict[str, EncodeRequest] = {}
        self.queue: list[tuple[int, int, EncodeRequest]] = []  # priority, order of arrival; always sorted
        self.orders = itertools.count()
        self.last_step_tokens = self.last_batch = 0
        self.last_end_s = 0.0
        self.texts = self.prompt_tokens = self.steps = 0

    def prepare(self, request: EncodeRequest) -> None:
        """Checks a request. Touches no state: may be called off the loop. Raises InvalidRequest."""
        tokens, types, arch = request.tokens, request.types, self.model.encoder.arch
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
        self.requests[request.id] = request
        bisect.insort(self.queue, (request.priority, next(self.orders), request), key=lambda entry: entry[:2])

    def abort(self, request_id: str) -> bool:
        """Takes a request out; nothing more is reported of it. False if it is not here."""
        if self.requests.pop(request_id, None) is None:
            return False
        self.queue = [entry for entry in self.queue if entry[2].id != request_id]
        return True

    @property
    def idle(self) -> bool:
        return not self.requests

    @property
    def patience_s(self) -> float:
        """See `patience`."""
        count = self._batch_size()
        if not count:
            return 0.0
        return patience(count, count < len(self.queue), self.last_batch, self.clock() - self.last_end_s)

    def step(self) -> list[Output]:
        """Computes one batch; returns the answers."""
        outputs = self._expire()
        self.last_step_tokens = 0
        count = self._batch_size()
        batch = [request for _, _, request in self.queue[:count]]
        del self.queue[:count]
        return outputs + self._run(batch) if batch else outputs

    def failed(self, error: StagelineError) -> Encoded:
        """The answer to a text that cannot be encoded."""
        return Encoded(error=error)

    def _batch_size(self) -> int:
        sizes = (len(request.tokens) for _, _, request in self.queue)
        return batch_size(sizes, self.limits.max_batch_tokens, self.limits.max_running)

    def close(self) -> None:
        """There is nothing elsewhere."""

    def stats(self) -> EncoderStats:
        return EncoderStats(
            running=self.last_batch if self.queue else 0,
            waiting=len(self.queue),
            texts=self.texts,
            prompt_tokens=self.prompt_tokens,
            steps=self.steps,
        )

    def _expire(self) -> list[Output]:
        """Ends requests whose deadline passed; computing them would only keep others waiting."""
        now = self.clock()
        late = [r for r in self.requests.values() if r.deadline_s is not None and r.deadline_s <= now]
        for request in late:
            self.abort(request.id)
        error = "the request's deadline passed before its text was encoded"
        return [(request.id, self.failed(DeadlineExceeded(error))) for request in late]

    def _run(self, batch: list[EncodeRequest]) -> list[Output]:
        started = self.clock()
        encoder = self.model.encoder
        texts = [Text(request.tokens, request.types) for request in batch]
        values: NDArray[np.float32] = self.model(pack(texts, encoder.arch, encoder.kernels.device)).cpu().numpy()
        self.last_end_s = self.clock()
        self.last_batch = len(batch)
        self.last_step_tokens = sum(len(request.tokens) for request in batch)
        self.texts += len(batch)
        self.prompt_tokens += self.last_step_tokens
        self.steps += 1
        outputs = []
        for request, row in zip(batch, values, strict=True):
            del self.requests[request.id]
            queued = max(0.0, started - (request.arrival_s or started))
            outputs.append((request.id, Encoded(row.copy(), queued, self.last_end_s - started)))
        return outputs
