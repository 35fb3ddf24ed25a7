"""What a key has used, and what one request of it takes: requests and tokens of the minute, and how many are open.

Used by one event loop. Each front door counts what passes it, and knows nothing of others'.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from deployments.access.buckets import Bucket, full_in_s, give, level, take
from deployments.access.keys import Key
from engine.errors import RateLimited

Clock = Callable[[], float]
Headers = list[tuple[bytes, bytes]]

BUSY_RETRY_S = 1.0
_NAMES = (b"x-ratelimit-limit-", b"x-ratelimit-remaining-", b"x-ratelimit-reset-")
_REQUESTS, _TOKENS = (tuple(name + kind for name in _NAMES) for kind in (b"requests", b"tokens"))


class Account:
    """One key's use. `key` is replaced when its file changes; what was used stays used."""

    __slots__ = ("_clock", "_requests", "_tokens", "key", "open")

    def __init__(self, key: Key, clock: Clock = time.monotonic) -> None:
        self.key = key
        self.open = 0
        self._clock = clock
        self._requests = Bucket(math.inf, clock())
        self._tokens = Bucket(math.inf, clock())

    def begin(self) -> None:
        """Counts a request, which `end` ends. Raises RateLimited."""
        limits = self.key.limits
        if limits.concurrent is not None and self.open >= limits.concurrent:
            raise RateLimited(
                f"This API key has {self.open} requests open, and that is its limit. Wait until one is answered.",
                retry_after_s=BUSY_RETRY_S,
                limit="concurrency",
            )
        per_minute = limits.requests_per_minute
        if per_minute is not None:
            self._requests, wait_s = take(self._requests, per_minute, 1, self._clock())
            if wait_s:
                raise RateLimited(
                    f"This API key may make {per_minute} requests a minute, and has made them. Try again in "
                    f"{shown_s(wait_s)}.",
                    retry_after_s=wait_s,
                    limit="requests",
                )
        self.open += 1

    def end(self) -> None:
        """A request has ended."""
        self.open -= 1

    def reserve(self, tokens: float) -> None:
        """Takes the tokens that a request is expected to use. Raises RateLimited."""
        per_minute = self.key.limits.tokens_per_minute
        if per_minute is None:
            return
        self._tokens, wait_s = take(self._tokens, per_minute, tokens, self._clock())
        if wait_s:
            left = max(0, int(level(self._tokens, per_minute, self._clock())))
            raise RateLimited(
                f"This API key may use {per_minute} tokens a minute; {left} are left, and this request may take "
                f"{math.ceil(tokens)}. Try again in {shown_s(wait_s)}.",
                retry_after_s=wait_s,
                limit="tokens",
            )

    def settle(self, reserved: float, used: float) -> None:
        """Corrects what `reserve` took by what was used in the end."""
        per_minute = self.key.limits.tokens_per_minute
        if per_minute is not None:
            self._tokens = give(self._tokens, per_minute, reserved - used, self._clock())

    def headers(self) -> Headers:
        """OpenAI's `x-ratelimit-*`, for the limits that the key has."""
        found: Headers = []
        limits, now = self.key.limits, self._clock()
        for (limit_name, left_name, reset_name), bucket, limit in (
            (_REQUESTS, self._requests, limits.requests_per_minute),
            (_TOKENS, self._tokens, limits.tokens_per_minute),
        ):
            if limit is not None:
                left = level(bucket, limit, now)
                found += (
                    (limit_name, b"%d" % limit),
                    (left_name, b"%d" % max(0.0, left)),
                    (reset_name, shown_s(full_in_s(left, limit)).encode()),
                )
        return found


class Accounts:
    """The account of each key, by its name."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._found: dict[str, Account] = {}

    def of(self, key: Key) -> Account:
        account = self._found.get(key.name)
        if account is None:
            account = self._found[key.name] = Account(key, self._clock)
        account.key = key
        return account


def shown_s(seconds: float) -> str:
    """As OpenAI writes times: 20ms, 8.64s, 6m0s. Rounded up, so that who waits so long has waited enough."""
    milliseconds = math.ceil(round(seconds * 1000, 6))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    whole = math.ceil(milliseconds / 1000)
    return f"{whole // 60}m{whole % 60}s"
