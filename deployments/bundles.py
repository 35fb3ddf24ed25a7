"""Small calls that come close together, sent as one: each hop between processes costs as much as a short text.

Of two callers who come within `WINDOW_S` the second waits for the rest of it; who comes alone does not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from deployments.front_door.trail.record import CURRENT, SHARING, Record

R = TypeVar("R")
O = TypeVar("O")  # noqa: E741

WINDOW_S = 0.002
MOST = 256  # requests of one call; more are spread over the replicas
SMALL = 16  # requests of a caller who shares a call: who brings more would keep the others waiting


@dataclass(frozen=True, slots=True)
class Waiting(Generic[R, O]):
    """A caller's requests, where their results go, and the record of the caller's request."""

    requests: Sequence[R]
    results: asyncio.Future[Sequence[O]]
    record: Record | None = None


class Bundles(Generic[R, O]):
    """`call` computes many requests at once: their results in order, or it raises for all of them."""

    def __init__(self, call: Callable[[Sequence[R]], Awaitable[Sequence[O]]]) -> None:
        self.call = call
        self._waiting: list[Waiting[R, O]] = []
        self._timer: asyncio.Handle | None = None
        self._sent_s = 0.0
        self._sending: set[asyncio.Task[None]] = set()

    async def compute(self, requests: Sequence[R]) -> Sequence[O]:
        """The results, in order. Raises what `call` raises. A call whose callers have all gone is cancelled."""
        events = asyncio.get_running_loop()
        part: Waiting[R, O] = Waiting(requests, events.create_future(), CURRENT.get())
        self._waiting.append(part)
        if self._timer is None:
            # Not at once even then: whoever comes in the same turn of the event loop goes along.
            self._timer = events.call_at(max(events.time(), self._sent_s + WINDOW_S), self._send)
        return await part.results

    def _send(self) -> None:
        self._timer = None
        self._sent_s = asyncio.get_running_loop().time()
        waiting = [part for part in self._waiting if not part.results.done()]
        self._waiting = []
        for bundle in bundled(waiting):
            task = asyncio.ensure_future(self._compute(bundle))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
            for part in bundle:
                part.results.add_done_callback(partial(self._give_up, bundle, task))

    @staticmethod
    def _give_up(bundle: list[Waiting[R, O]], task: asyncio.Task[None], done: asyncio.Future[Sequence[O]]) -> None:
        if done.cancelled() and all(part.results.cancelled() for part in bundle):
            task.cancel()

    async def _compute(self, bundle: list[Waiting[R, O]]) -> None:
        try:
            SHARING.set([part.record for part in bundle if part.record is not None])
            results = await self.call([request for part in bundle for request in part.requests])
        except Exception as error:
            for part in bundle:
                if not part.results.done():
                    part.results.set_exception(error)
            return
        at = 0
        for part in bundle:
            if not part.results.done():
                part.results.set_result(results[at : at + len(part.requests)])
            at += len(part.requests)


def bundled(waiting: Sequence[Waiting[R, O]]) -> list[list[Waiting[R, O]]]:
    """Who goes with whom, one call each: large callers alone, small ones together up to `MOST` requests."""
    bundles: list[list[Waiting[R, O]]] = []
    size = 0
    for part in sorted(waiting, key=lambda one: len(one.requests) > SMALL):
        count = len(part.requests)
        if not bundles or count > SMALL or size + count > MOST:
            bundles.append([])
            size = 0
        bundles[-1].append(part)
        size += count
    return bundles
