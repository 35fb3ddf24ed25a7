"""What a stream's reader was told so far, and how a later run of the same request becomes its seamless continuation.

Every precision computes the same logits for a prompt with tokens after it as it did while writing them, and a draw
depends on (seed, position) alone: the next run goes on with the very tokens that the first would have written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from engine.errors import ReplicaLost
from engine.request import Delta, FinishReason, Request, Timings


class Told:
    """Of one request. `clock` is the wall clock, in seconds."""

    def __init__(self, request: Request, clock: Callable[[], float] = time.time) -> None:
        self._request = request
        self._clock = clock
        self._tokens = list(request.generated)
        self._first: Delta | None = None
        self._first_s = 0.0
        self._runs = self._first_run = 0

    @property
    def tokens(self) -> int:
        """Generated so far."""
        return len(self._tokens)

    def request(self) -> Request:
        """What to ask the next replica for."""
        self._runs += 1
        if self._first is None:
            return self._request
        # What is known of the prompt was told with the first delta.
        sampling = replace(self._request.sampling, prompt_logprobs=None)
        return replace(self._request, sampling=sampling, generated=tuple(self._tokens))

    def complete(self) -> Delta | None:
        """The end, where every token was told and only the word that this is the end was lost."""
        if self._first is None or len(self._tokens) < self._request.sampling.max_tokens:
            return None
        return Delta(
            finish_reason=FinishReason.LENGTH, cached_tokens=self._first.cached_tokens, timings=self._timings(None)
        )

    def take(self, delta: Delta) -> Delta:
        """What to tell the reader of this run's next delta."""
        self._tokens += delta.tokens
        if self._first is None:
            self._first, self._first_s, self._first_run = delta, self._clock(), self._runs
            return delta
        if self._runs == self._first_run:
            return delta
        timings = None if delta.finish_reason is None else self._timings(delta.timings)
        return replace(delta, cached_tokens=self._first.cached_tokens, prompt_logprobs=(), timings=timings)

    def _timings(self, last: Timings | None) -> Timings | None:
        """As the reader saw it: the first run's until its first token, and from there on the time until now."""
        assert self._first is not None
        first = self._first.timings or last
        if first is None:
            return None
        return replace(first, decode_s=max(0.0, self._clock() - self._first_s))


def rest(delta: Delta) -> Delta | None:
    """What came before the word that the replica is lost, in the same delta: None where that was all."""
    if not delta.tokens and not delta.prompt_logprobs:
        return None
    return replace(delta, finish_reason=None, error=None, timings=None)


def tells_loss(delta: Delta) -> bool:
    """Whether the replica says that it cannot finish the request, and another one can."""
    return isinstance(delta.error, ReplicaLost)
