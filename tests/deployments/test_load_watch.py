from __future__ import annotations

import asyncio
from collections.abc import Sequence

from deployments.load import Load
from deployments.load_watch import IDLE_S, LoadWatch
from deployments.routing.prediction import Demand, Objective
from deployments.routing.router import Ask, Router
from deployments.variants import VariantInfo


class Replicas:
    """Answers with one replica, or with what a test sets."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.loads: Sequence[Load] | None = (Load("r", places=10, slots=2),)
        self.failure: Exception | None = None

    async def ask(self, variant: str, turned_away_per_s: float) -> Sequence[Load] | None:
        self.asked.append(variant)
        if self.failure is not None:
            raise self.failure
        return self.loads


def router() -> Router:
    return Router("m", [VariantInfo("a", "starting", 1.0)], Objective(0.5, 0.05))


def states(found: Router) -> list[str]:
    return [variant.state for variant in found.variants]


async def asked(replicas: Replicas, times: int) -> None:
    """Waits until they were asked so often."""
    async with asyncio.timeout(30):
        while len(replicas.asked) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_variant_with_work_is_asked_again_and_again_and_one_without_is_not() -> None:
    found, replicas = router(), Replicas()
    watch = LoadWatch(found, replicas.ask)
    await asked(replicas, 1)
    await asyncio.sleep(0)
    assert states(found) == ["ready"]
    await asyncio.sleep(IDLE_S / 2)
    assert len(replicas.asked) == 1
    _, ticket = found.choose(Ask(Demand(10, 10)))
    await asked(replicas, 4)
    ticket.close()
    watch.stop()


async def test_what_answers_tell_need_not_be_asked() -> None:
    found, replicas = router(), Replicas()
    watch = LoadWatch(found, replicas.ask)
    await asked(replicas, 1)
    _, ticket = found.choose(Ask(Demand(10, 10)))
    events = asyncio.get_running_loop()
    end, before = events.time() + 0.4 * IDLE_S, len(replicas.asked)
    while events.time() < end:
        found.hear_one("a", Load("r", places=10, slots=2))
        await asyncio.sleep(0.005)
    assert len(replicas.asked) <= before + 2
    ticket.close()
    watch.stop()


async def test_it_goes_on_whatever_happens() -> None:
    found, replicas = router(), Replicas()
    _, ticket = found.choose(Ask(Demand(10, 10)))
    replicas.failure = RuntimeError("no")
    watch = LoadWatch(found, replicas.ask)
    await asked(replicas, 2)
    replicas.failure, replicas.loads = None, None
    await asked(replicas, 4)
    assert states(found) == ["starting"]
    replicas.loads = ()
    await asked(replicas, 6)
    replicas.loads = (Load("r", places=10),)
    await asked(replicas, 8)
    assert states(found) == ["ready"]
    replicas.loads = ()
    await asked(replicas, 10)
    assert states(found) == ["unavailable"]
    ticket.close()
    watch.stop()
