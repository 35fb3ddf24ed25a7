"""One model's answers under watch: which are compared, when, and with whom.

Nobody waits for a comparison. One is made at a time, behind all requests, while the reference has none; it is given up
when one comes. What is kept for it is in memory only, and little of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deployments.drift.compare import Comparison
from deployments.drift.metrics import DriftMetrics, Skip
from deployments.routing.router import Router

log = logging.getLogger(__name__)

MOST_WAITING = 8
PATIENCE_S = 60.0  # an answer waits for so long for the reference to be idle
LIMIT_S = 30.0  # a comparison takes at most so long
LOOK_S = 0.05  # between two looks at what the reference has to do


@dataclass(frozen=True, slots=True)
class Job:
    """An answer of a variant, held until it is compared: `ask(reference)` asks that variant the same."""

    variant: str
    ask: Callable[[str], Awaitable[Comparison]]


class DriftWatch:
    """Takes a `share` of one model's answers; used by one event loop."""

    def __init__(
        self, router: Router, share: float, metrics: DriftMetrics, draw: Callable[[], float] = random.random
    ) -> None:
        self.router, self.share, self.metrics, self.draw = router, share, metrics, draw
        self.reference = reference(router)
        self.waiting: asyncio.Queue[Job] = asyncio.Queue(MOST_WAITING)
        self.worker: asyncio.Task[None] | None = None

    def wants(self, variant: str) -> bool:
        """Whether this answer of a variant is one to be compared."""
        return self.reference not in (None, variant) and self.draw() < self.share

    def take(self, job: Job) -> None:
        """Has an answer compared, some time."""
        if self.worker is None:
            # In a context of its own: what it asks belongs to no request, to whose log and trace it would be added.
            self.worker = asyncio.get_running_loop().create_task(self._work(), context=contextvars.Context())
        try:
            self.waiting.put_nowait(job)
        except asyncio.QueueFull:
            self._skip(job, "dropped")

    async def _work(self) -> None:
        while True:
            job = await self.waiting.get()
            try:
                await self._compare(job)
            except Exception as error:
                log.warning("an answer of %s:%s could not be compared: %s", self.router.model, job.variant, error)
                self._skip(job, "failed")

    async def _compare(self, job: Job) -> None:
        assert self.reference is not None
        if not await self._comes_idle(self.reference):
            self._skip(job, "busy" if self._ready(self.reference) else "absent")
            return
        asking = asyncio.ensure_future(job.ask(self.reference))
        try:
            async with asyncio.timeout(LIMIT_S):
                while not asking.done():
                    await asyncio.wait((asking,), timeout=LOOK_S)
                    if not asking.done() and self.router.busy(self.reference):
                        self._skip(job, "busy")
                        return
                self.metrics.compared(self.router.model, job.variant, asking.result())
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asking

    async def _comes_idle(self, variant: str) -> bool:
        """Waits for the reference to have nothing to do; not for one that is not there."""
        events = asyncio.get_running_loop()
        until = events.time() + PATIENCE_S
        while self._ready(variant) and events.time() < until:
            if self.router.idle(variant):
                return True
            await asyncio.sleep(LOOK_S)
        return False

    def _ready(self, variant: str) -> bool:
        return any(one.name == variant and one.state == "ready" for one in self.router.variants)

    def _skip(self, job: Job, why: Skip) -> None:
        self.metrics.skipped(self.router.model, job.variant, why)


def reference(router: Router) -> str | None:
    """The variant that others are held against: the best, of those that always run. (One that may sleep would be kept
    awake by it.) None where that is the only one."""
    awake = [one for one in router.variants if not one.may_sleep]
    if not awake or len(router.variants) < 2:
        return None
    return max(awake, key=lambda one: one.quality).name
