"""Asks replicas for their load when their answers do not tell it: often where there is work, seldom where there is
none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from deployments.load import Load
from deployments.routing.router import Router

log = logging.getLogger(__name__)

IDLE_S = 1.0  # between two questions to a variant without requests: what was sent to it is known without asking
OLD_S = 0.12  # what was heard of one with requests may be this old before it is asked; answers tell more often
LOOK_S = 0.05  # between two looks at that, and at least between two questions

Ask = Callable[[str, float], Awaitable[Sequence[Load] | None]]
"""(variant, tokens/s that it turned away, for each replica) to loads; see `Router.hear`."""


class LoadWatch:
    """Keeps one model's router told. A request to a variant without work has it asked at once."""

    def __init__(self, router: Router, ask: Ask) -> None:
        self.router = router
        self.ask = ask
        self.sent = {variant.name: asyncio.Event() for variant in router.variants}
        router.on_sent = self._note
        self.tasks = [asyncio.get_running_loop().create_task(self._watch(name)) for name in self.sent]

    def stop(self) -> None:
        for task in self.tasks:
            task.cancel()

    def _note(self, variant: str) -> None:
        self.sent[variant].set()

    async def _watch(self, variant: str) -> None:
        events, sent = asyncio.get_running_loop(), self.sent[variant]
        while True:
            try:
                await self._look(variant)
            except Exception:
                log.exception("the load of %s:%s cannot be read", self.router.model, variant)
            until = events.time() + IDLE_S
            await asyncio.sleep(LOOK_S)
            while events.time() < until and not (self.router.busy(variant) and self.router.age_s(variant) > OLD_S):
                if self.router.busy(variant):
                    await asyncio.sleep(LOOK_S)
                    continue
                sent.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(until):
                        await sent.wait()

    async def _look(self, variant: str) -> None:
        events, router = asyncio.get_running_loop(), self.router
        replicas = next((one.replicas for one in router.variants if one.name == variant), 0)
        started_s = events.time()
        router.asking(variant)
        loads = await self.ask(variant, router.turned_away_per_s(variant) / max(1, replicas))
        router.hear(variant, loads, events.time() - started_s)
        router.look()
