"""What is told of a pipeline's stages with a request: who is asked, about which time, and what that means."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from cluster.pipeline.state import Meanwhile, Shares
from deployments.front_door.trail.record import Call, Record, Visit
from deployments.front_door.trail.stages import no_stages, pace_of, with_stages
from deployments.front_door.trail.view import shown
from deployments.routing.choice import Decision

SLOW = [Meanwhile(0, "0-9", Shares(0.4, 0.5, 0.1, 1.0)), Meanwhile(1, "10-29", Shares(0.9, 0.05, 0.05, 1.0))]


class Asked:
    def __init__(self, answer: Sequence[Meanwhile] = SLOW) -> None:
        self.answer = answer
        self.asked: list[tuple[tuple[str, str], str, float, float]] = []

    async def stages(self, key: tuple[str, str], replica: str, start_s: float, end_s: float) -> Sequence[Meanwhile]:
        self.asked.append((key, replica, start_s, end_s))
        return self.answer


def told(*visits: Visit, ended: float = 110.0) -> dict[str, Any]:
    """All of a request that came at 1,000 s, or at 100 s of the performance counter."""
    record = Record("r", model="m", task="text-generation", arrived_s=1000.0, arrived=100.0, ended=ended)
    record.decision = Decision("bf16", "fast")
    record.calls = [Call(1, list(visits))]
    return shown(record, slow=False)


async def test_the_last_replica_is_asked_of_its_own_time() -> None:
    asked = Asked()
    found = await with_stages(
        told(Visit(101, "first", 101, 102, 104, cause="died"), Visit(104, "last", 105, 106, 109)), asked.stages
    )
    assert asked.asked == [(("m", "bf16"), "last", 1005.0, 1009.0)]
    assert found["stages"][1] == {
        "stage": 1,
        "layers": "10-29",
        "busy": 0.9,
        "waiting": 0.05,
        "sending": 0.05,
        "active": 1.0,
    }
    assert "stage 1 (layers 10-29) computed 90% of the time, no other more than 40%: they waited" in found["slowed"][-1]
    assert found["id"] == "r"


async def test_one_that_is_still_there_is_asked_until_now() -> None:
    asked, before = Asked(), time.time()
    await with_stages(told(Visit(101, "here", 105, 106), ended=0.0), asked.stages)
    ((_, replica, start_s, end_s),) = asked.asked
    assert (replica, start_s) == ("here", 1005.0)
    assert before <= end_s <= time.time()


async def test_nobody_is_asked_where_no_replica_had_it() -> None:
    asked = Asked()
    assert (await with_stages(told(), asked.stages))["stages"] == []
    assert (await with_stages(told(Visit(101)), asked.stages))["stages"] == []
    assert asked.asked == []


async def test_a_replica_without_stages_changes_nothing() -> None:
    before = told(Visit(104, "last", 105, 106, 109))
    assert await with_stages(before, no_stages) == {**before, "stages": []}


async def test_what_took_little_time_set_no_pace() -> None:
    found = await with_stages(told(Visit(105, "last", 105, 105.2, 105.5)), Asked().stages)
    assert len(found["stages"]) == 2
    assert not [line for line in found["slowed"] if "they waited for it" in line]


def all_doing(*busy: float, active: float = 1.0) -> list[Meanwhile]:
    return [Meanwhile(i, str(i), Shares(share, active=active)) for i, share in enumerate(busy)]


@pytest.mark.parametrize("busy", [(), (0.9,), (0.5, 0.2, 0.4), (0.9, 0.8), (0.9, 0.2, 0.8)])
def test_no_stage_sets_the_pace(busy: Sequence[float]) -> None:
    """There is one only, all have time to spare, or another is nearly as busy."""
    assert pace_of(all_doing(*busy)) is None


def test_stages_that_take_turns_do_not_wait_for_the_largest() -> None:
    """One stream alone has one batch under way: how the layers are cut does not change its time."""
    assert pace_of(all_doing(0.66, 0.33)) is None
    assert pace_of(all_doing(0.66, 0.33, active=0.8)) is not None
