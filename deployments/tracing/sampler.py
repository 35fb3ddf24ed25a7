"""Which requests are traced: a share of them, and of a busy server no more than so many a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased


class AtMostPerSecond(Sampler):
    """Samples `share` of what comes, and of that at most `per_second`, by a token bucket that holds one second's.

    A trace costs a fixed time, so a share alone costs most where there is least time left. Used by one event loop.
    """

    def __init__(self, share: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = TraceIdRatioBased(share)
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._clock = clock
        self._left, self._at = self._most, clock()

    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        found = self._share.should_sample(*arguments, **named)
        if not found.decision.is_sampled() or self._taken():
            return found
        return SamplingResult(Decision.DROP, None, found.trace_state)

    def _taken(self) -> bool:
        now = self._clock()
        self._left, self._at = min(self._most, self._left + (now - self._at) * self._per_second), now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def get_description(self) -> str:
        return f"AtMostPerSecond{{{self._share.rate},{self._per_second}}}"
