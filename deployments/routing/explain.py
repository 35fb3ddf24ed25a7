"""Why a request got its variant: the decision once more, with what was thought of each variant. Pure.

Worked out when somebody asks, from what the decision was made from: the requests themselves do not pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deployments.routing.choice import Candidate, Decision, gives_way, most_share, predictions, shares
from deployments.routing.prediction import Prediction, predict
from deployments.routing.situation import Situation
from deployments.variants import VariantInfo

Verdict = Literal[
    "chosen",
    "other_pinned",
    "quality",
    "key",
    "asleep",
    "starting",
    "unavailable",
    "full",
    "unknown",
    "over",
    "eased",
    "gives_way",
    "spare",
    "slower",
    "worse",
]
"""It was chosen; or another was named, it loses too much, the caller's key is not for it, it is not ready (three
states), it takes no more, its load is not known, it would miss the objective, or use more of it than it may (see
`choice.EASED`), it leaves the cores to a quicker one on the same; or it would do but a better one does, it is slower
than the chosen one, or misses the objective by more."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What was thought of a variant. `share` of the objective that it was predicted to use, and the `most` that it may;
    `alone` is what the request would take with nothing else to do. None where it was not looked at. `beyond`: no
    variant would keep the objective even alone, and `share` is only what the load adds."""

    name: str
    verdict: Verdict
    state: str
    retained: float | None
    replicas: int
    open: int | None = None
    places: int | None = None
    begun: int | None = None
    slots: int | None = None
    waiting_tokens: float | None = None
    predicted: Prediction | None = None
    alone: Prediction | None = None
    share: float | None = None
    most: float | None = None
    beyond: bool = False


def explain(situation: Situation, decision: Decision | None) -> list[Weighed]:
    """All variants of the model: those that the request allows first, best first. `decision` None: none was made, as
    all were full."""
    weighed = _weigh(situation, decision)
    allowed = {one.name for one in situation.candidates}
    left = [_excluded(one, situation) for one in situation.variants if one.name not in allowed]
    return [*weighed, *left]


def _excluded(variant: VariantInfo, situation: Situation) -> Weighed:
    other = situation.pinned is not None and situation.pinned != variant.name
    bad = situation.min_quality is not None and variant.quality < situation.min_quality
    verdict: Verdict = "other_pinned" if other else "quality" if bad else "key"
    return Weighed(variant.name, verdict, variant.state, variant.retained, variant.replicas)


def _weigh(situation: Situation, decision: Decision | None) -> list[Weighed]:
    demand, objective = situation.demand, situation.objective
    ready = [one for one in situation.candidates if one.state == "ready"]
    free = [one for one in ready if one.open < one.places]
    known = predictions(ready, ready, demand, objective)
    alone = {one.name: predict(one.pool.alone, demand, objective) for one in ready if one.pool is not None}
    judged = {one.name for one in free or ready}
    beyond, used = shares(
        {name: one for name, one in known.items() if name in judged},
        {name: one for name, one in alone.items() if name in judged},
        objective,
    )
    infos = {one.name: one for one in situation.variants}
    found = []
    for one in situation.candidates:
        info, pool = infos[one.name], one.pool
        found.append(
            Weighed(
                one.name,
                _verdict(one, free, situation, decision, used),
                one.state,
                info.retained,
                info.replicas,
                one.open,
                one.places,
                None if pool is None else pool.begun,
                None if pool is None else pool.slots * max(1, pool.replicas),
                None if pool is None else pool.prompt_tokens,
                known.get(one.name),
                alone.get(one.name),
                used.get(one.name),
                None
                if one.name not in used
                else most_share(one.name, situation.policy, situation.memory, situation.now),
                beyond and one.name in used,
            )
        )
    return found


def _verdict(
    one: Candidate,
    free: Sequence[Candidate],
    situation: Situation,
    decision: Decision | None,
    used: Mapping[str, float],
) -> Verdict:
    if decision is not None and decision.variant == one.name:
        return "chosen"
    match one.state:
        case "asleep" | "starting" | "unavailable":
            return one.state
    if one.open >= one.places:
        return "full"
    if one.name not in used:
        return "unknown"
    if situation.policy == "fast":
        return "slower"
    most = most_share(one.name, situation.policy, situation.memory, situation.now)
    if used[one.name] <= most:
        return "gives_way" if gives_way(one, free, used, situation.memory, situation.now) else "spare"
    if used[one.name] <= 1.0:
        return "eased"
    return "worse" if decision is not None and decision.reason == "least_bad" else "over"
