"""What steps cost on shared cores, by what was measured while a variant had them to itself. Pure.

While two variants compute on the same cores, all their steps take longer. The one with few requests then looks slow, as
its short steps wait for long ones, and the one with many is never left, however slow it is. So a cost counts that was
measured undisturbed: the variant's own, or another's by how much faster the one was measured to be than the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from deployments.load import StepCost
from deployments.routing.choice import FASTER, Candidate
from deployments.routing.prediction import UNMEASURED

CLEAR_S = 10.0  # after a disturbance: twice the memory of a replica's cost (`load_meter.MEMORY_S`)
KEPT_S = 60.0  # a cost counts for so long; other models come and go on the same cores


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """Of one variant: when another one computed last on its cores, and what its steps cost when none did, as of
    `at_s`."""

    disturbed_s: float = float("-inf")
    cost: StepCost = UNMEASURED
    at_s: float = float("-inf")


def look(before: Mapping[str, Undisturbed], candidates: Sequence[Candidate], now: float) -> Mapping[str, Undisturbed]:
    """With what is to be seen now. `candidates` are all variants of the model."""
    after = dict(before)
    for one in candidates:
        if not one.shared:
            continue
        mine = after.get(one.name, Undisturbed())
        if any(one.beside(other) and other.open for other in candidates):
            mine = replace(mine, disturbed_s=now)
        elif one.open and one.pool is not None and one.pool.cost.known and now - mine.disturbed_s >= CLEAR_S:
            mine = replace(mine, cost=one.pool.cost, at_s=now)
        after[one.name] = mine
    return after


def with_costs(candidates: Sequence[Candidate], known: Mapping[str, Undisturbed], now: float) -> list[Candidate]:
    """The candidates, in order of quality, with the costs to go by."""
    return [
        one if one.pool is None else replace(one, pool=replace(one.pool, cost=_cost(one, candidates, known, now)))
        for one in candidates
    ]


def _cost(one: Candidate, candidates: Sequence[Candidate], known: Mapping[str, Undisturbed], now: float) -> StepCost:
    """Its own that is not old, else the latest of another by their speeds, else its own of before, else the last."""
    assert one.pool is not None
    mine = known.get(one.name, Undisturbed())
    if now - mine.at_s <= KEPT_S:
        return mine.cost
    others = [other for other in candidates if one.beside(other) and other.name in known]
    latest = max(others, key=lambda other: known[other.name].at_s, default=None)
    if latest is None or not known[latest.name].cost.known:
        return mine.cost if mine.cost.known else one.pool.cost
    if mine.cost.known and None in (one.speedup, latest.speedup):
        return mine.cost
    times = _times_as_fast(one, latest, lesser=candidates.index(one) > candidates.index(latest))
    cost = known[latest.name].cost
    return StepCost(cost.base_s / times, cost.token_s / times)


def _times_as_fast(one: Candidate, other: Candidate, *, lesser: bool) -> float:
    """As measured with many requests. Where it was not, what loses more is taken to be faster, or it is never tried."""
    if one.speedup and other.speedup:
        return one.speedup / other.speedup
    return FASTER if lesser else 1 / FASTER
