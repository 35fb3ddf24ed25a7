"""What a pipeline's stages did while a request was with them: asked of its replica when somebody wants to know."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from cluster.pipeline.state import Meanwhile
from deployments.front_door.trail.words import WORTH_TELLING

PACE = 0.6  # of its time that a stage computes which sets the pace
AHEAD = 0.15  # by which it computes more than the next
AT_ONCE = 1.1  # stages that compute at a time, at least: one after the other, they do not wait for each other's work

StagesAsked = Callable[[tuple[str, str], str, float, float], Awaitable[Sequence[Meanwhile]]]
"""Of a (model, variant)'s replica of this name, from when to when by the wall clock; none of one that is no pipeline,
is gone or does not answer."""


async def no_stages(key: tuple[str, str], replica: str, start_s: float, end_s: float) -> Sequence[Meanwhile]:
    """There is nobody to ask."""
    return ()


async def with_stages(told: dict[str, Any], ask: StagesAsked) -> dict[str, Any]:
    """All of a request (see `view.shown`), with `stages`: what those of the replica that had it last did meanwhile, for
    all whom it served; and with that among what slowed it, where one of them sets the pace and the time there is worth
    telling."""
    visits = [visit for call in told["calls"] for visit in call["visits"] if visit["sent_s"] is not None]
    last = max(visits, key=lambda one: (one["ended_s"] is None, one["ended_s"]), default=None)
    stages: Sequence[Meanwhile] = ()
    if last is not None and last["replica"] is not None:
        start_s = told["arrived_s"] + last["sent_s"]
        end_s = time.time() if last["ended_s"] is None else told["arrived_s"] + last["ended_s"]
        stages = await ask((told["model"], told["variant"]), last["replica"], start_s, end_s)
    long = last is not None and stages and end_s - start_s >= WORTH_TELLING * told["took_s"]
    pace = pace_of(stages) if long else None
    return {**told, "stages": [_shown(one) for one in stages], "slowed": told["slowed"] + ([pace] if pace else [])}


def pace_of(stages: Sequence[Meanwhile]) -> str | None:
    """In words, where one computes much more than all others, which wait for it."""
    if len(stages) < 2:
        return None
    *_, second, first = sorted(stages, key=lambda one: one.shares.busy)
    at_once = sum(one.shares.busy for one in stages) >= AT_ONCE * max(one.shares.active for one in stages)
    if not at_once or first.shares.busy < PACE or first.shares.busy - second.shares.busy < AHEAD:
        return None
    return (
        f"While its replica had it, stage {first.index} (layers {first.layers}) computed {first.shares.busy:.0%} of "
        f"the time, no other more than {second.shares.busy:.0%}: they waited for it. Fewer layers in it would help "
        "(stages.balance)."
    )


def _shown(one: Meanwhile) -> Mapping[str, Any]:
    shares = {name: round(getattr(one.shares, name), 4) for name in ("busy", "waiting", "sending", "active")}
    return {"stage": one.index, "layers": one.layers, **shares}
