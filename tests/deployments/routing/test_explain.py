from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from deployments.routing.choice import Candidate, Memory, Pressure, choose
from deployments.routing.explain import explain
from deployments.routing.prediction import Demand, Objective
from deployments.routing.situation import Situation
from deployments.variants import VariantInfo
from engine.errors import Overloaded
from tests.deployments.routing.test_choice import (
    CHAT,
    GENERATION,
    asleep,
    candidate_lists,
    demands,
    memories,
    objectives,
    on,
    pool,
    ready,
)


def situation(*candidates: Candidate, demand: Demand = CHAT, objective: Objective = GENERATION) -> Situation:
    variants = [VariantInfo(one.name, one.state, 1.0) for one in candidates]
    return Situation(variants, candidates, demand, objective, Memory(), 100.0)


def verdicts(asked: Situation) -> dict[str, str]:
    decision, _ = choose(
        asked.candidates,
        asked.demand,
        asked.objective,
        asked.memory,
        asked.now,
        policy=asked.policy,
        pinned=asked.pinned is not None,
    )
    return {one.name: one.verdict for one in explain(asked, decision)}


@given(
    candidates=candidate_lists(),
    demand=demands,
    objective=objectives,
    memory=memories,
    policy=st.sampled_from(["best", "balanced", "fast"]),
)
def test_the_explanation_says_what_was_decided(candidates, demand, objective, memory, policy) -> None:  # type: ignore[no-untyped-def]
    asked = replace(situation(*candidates, demand=demand, objective=objective), memory=memory, policy=policy)
    try:
        decision, _ = choose(candidates, demand, objective, memory, asked.now, policy=policy)
    except Overloaded:
        assert {one.verdict for one in explain(asked, None)} <= {"full", "asleep", "starting", "unavailable"} or not [
            one for one in candidates if one.state == "ready"
        ]
        return
    weighed = explain(asked, decision)
    assert [one.name for one in weighed] == [one.name for one in candidates]
    assert [one.name for one in weighed if one.verdict == "chosen"] == [decision.variant]
    by_name = {one.name: one for one in weighed}
    for name in decision.full:
        assert by_name[name].verdict in ("over", "eased", "worse")
    if decision.reason == "objective":
        chosen = by_name[decision.variant]
        assert chosen.share is not None
        assert chosen.most is not None
        assert chosen.share <= chosen.most
        better = weighed[: weighed.index(chosen)]
        assert all(one.verdict != "spare" for one in better), "a better one that would have done was not passed over"


def test_each_reason_to_pass_a_variant_over() -> None:
    slow, quick = pool(base_s=0.1), pool()
    full = Candidate("full", "ready", 320, 320, pool(320))
    unheard = ready("unheard", None)
    found = verdicts(
        situation(ready("slow", slow), full, unheard, asleep("asleep"), ready("quick", quick), ready("too", quick))
    )
    assert found == {
        "slow": "over",
        "full": "full",
        "unheard": "unknown",
        "asleep": "asleep",
        "quick": "chosen",
        "too": "spare",
    }


def test_a_variant_that_passed_requests_on_is_eased() -> None:
    near = pool(base_s=0.045, token_s=0.0)
    asked = replace(situation(ready("best", near), ready("next", pool())), memory=Memory({"best": Pressure(99.0)}))
    assert verdicts(asked) == {"best": "eased", "next": "chosen"}
    assert verdicts(replace(asked, memory=Memory())) == {"best": "chosen", "next": "spare"}


def test_what_the_request_did_not_allow_is_told_apart() -> None:
    variants = [VariantInfo("good", retained=1.0), VariantInfo("poor", retained=0.9), VariantInfo("else", retained=1.0)]
    asked = replace(situation(ready("good", pool())), variants=variants, min_quality=0.95)
    assert verdicts(asked) == {"good": "chosen", "poor": "quality", "else": "key"}
    assert verdicts(replace(asked, pinned="good")) == {"good": "chosen", "poor": "other_pinned", "else": "other_pinned"}


def test_of_several_that_are_too_slow_the_others_missed_by_more() -> None:
    assert verdicts(situation(ready("a", pool(300)), ready("b", pool(200)))) == {
        "a": "worse",
        "b": "chosen",
    }


def test_on_shared_cores_a_pressed_variant_gives_way() -> None:
    good, fast = on("a", ready("good", pool(0))), on("a", ready("fast", pool(4, 0.002, 0.0002)))
    asked = replace(situation(good, fast), memory=Memory({"good": Pressure(99.0)}))
    assert verdicts(asked) == {"good": "gives_way", "fast": "chosen"}
