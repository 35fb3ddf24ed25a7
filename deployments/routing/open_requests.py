"""What the front door sent to a model's variants and has no answer to: counted by variant and by caller."""

from __future__ import annotations

from dataclasses import dataclass, field

from deployments.routing.prediction import Demand

AT_ONCE = 256
"""Texts of one request that are with a replica at once: more are sent when these are answered, see `text_calls`."""


@dataclass(slots=True)
class Work:
    """Requests, and tokens that they are expected to want."""

    requests: int = 0
    tokens: float = 0.0

    def add(self, requests: int, tokens: float) -> None:
        self.requests += requests
        self.tokens += tokens


@dataclass(slots=True)
class Count:
    """Requests that are open, of which so many began; tokens of the prompts of those that did not; whose they are."""

    open: int = 0
    begun: int = 0
    prompt_tokens: int = 0
    callers: dict[str, Work] = field(default_factory=dict)


class OpenRequests:
    """Used by one event loop."""

    def __init__(self) -> None:
        self._variants: dict[str, Count] = {}

    def of(self, variant: str) -> Count:
        return self._variants.setdefault(variant, Count())


class Ticket:
    """One request's place in a variant's count, from its decision to its end.

    `close` may be called more than once; whatever happens to a request, its ticket is closed with the last reference.
    """

    __slots__ = ("_begun", "_caller", "_count", "_open", "_tokens", "_waiting")

    def __init__(self, count: Count, caller: str, demand: Demand, tokens: float) -> None:
        share = min(1.0, AT_ONCE / max(1, demand.count))
        self._count: Count | None = count
        self._caller = caller
        self._open = min(demand.count, AT_ONCE)
        self._waiting = round(demand.prompt_tokens * share)
        self._tokens = tokens
        self._begun = 0
        count.open += self._open
        count.prompt_tokens += self._waiting
        count.callers.setdefault(caller, Work()).add(self._open, tokens)

    def begin(self, prompt_tokens: int) -> None:
        """One of its answers has its first token."""
        if self._count is None or self._begun >= self._open:
            return
        tokens = min(self._waiting, prompt_tokens)
        self._begun += 1
        self._waiting -= tokens
        self._count.begun += 1
        self._count.prompt_tokens -= tokens

    def close(self) -> None:
        """The request has ended."""
        count, self._count = self._count, None
        if count is None:
            return
        count.open -= self._open
        count.begun -= self._begun
        count.prompt_tokens -= self._waiting
        work = count.callers[self._caller]
        work.add(-self._open, -self._tokens)
        if not work.requests:
            del count.callers[self._caller]

    def __del__(self) -> None:
        self.close()
