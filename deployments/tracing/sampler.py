"""Which requests are traced: a share of them, and of a busy server no more than so many a second."""

from __future__ import annotations

import random
import time
from collections.abc import Callable


class Sampler:
    """Picks the share `share` of what comes, and of that at most `per_second`, by a token bucket that holds one
    second's. Used by one event loop.

    A trace costs a fixed time, so a share alone costs most where there is least time left. And it is no sampler of
    OpenTelemetry's: for one, a span and its context must be made of each request, to be thrown away.
    """

    def __init__(self, share: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._clock = clock
        self._left, self._at = self._most, clock()

    def picks(self) -> bool:
        """Whether the request that has come is to be traced."""
        if self._share < 1 and random.random() >= self._share:
            return False
        now = self._clock()
        self._left, self._at = min(self._most, self._left + (now - self._at) * self._per_second), now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def put_back(self) -> None:
        """What was picked is not traced after all: another one may be."""
        self._left = min(self._most, self._left + 1)
