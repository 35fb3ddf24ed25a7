from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.load import StepCost
from deployments.routing.choice import (
    EASED,
    HOLD_S,
    MOST_HOLD_S,
    Candidate,
    Memory,
    Pressure,
    choose,
    prefer,
)
from deployments.routing.prediction import Demand, Objective, Pool, predict
from deployments.variants import Policy, VariantState
from engine.errors import Overloaded

GENERATION = Objective(0.5, 0.05)
TEXTS = Objective(0.2)
CHAT = Demand(100, 50)
STATES: tuple[VariantState, ...] = ("ready", "ready", "ready", "starting", "asleep", "unavailable")


def pool(open_: int = 0, base_s: float = 0.005, token_s: float = 0.0005, replicas: int = 1) -> Pool:
    return Pool(
        replicas=replicas,
        open=open_,
        begun=open_,
        places=320 * replicas,
        slots=64,
        step_tokens=512,
        cost=StepCost(base_s, token_s),
        output_tokens=100.0,
    )


def ready(name: str, load: Pool | None, open_: int = 0) -> Candidate:
    return Candidate(name, "ready", open_ if load is None else load.open, 320 if load is None else load.places, load)


def asleep(name: str) -> Candidate:
    return Candidate(name, "asleep", 0, 320, pool())


costs = st.builds(StepCost, st.floats(0, 0.1), st.floats(0, 0.01))
pools = st.builds(
    Pool,
    replicas=st.integers(1, 4),
    open=st.integers(0, 400),
    begun=st.integers(0, 100),
    prompt_tokens=st.floats(0, 100_000),
    places=st.integers(1, 400),
    prompt_per_s=st.floats(0, 10_000),
    slots=st.integers(1, 64),
    step_tokens=st.integers(1, 512),
    cost=costs,
    output_tokens=st.floats(0, 500),
)
demands = st.builds(Demand, st.integers(0, 5000), st.sampled_from([0, 1, 16, 1000]), st.integers(1, 100))
objectives = st.sampled_from([GENERATION, TEXTS])


@st.composite
def candidate_lists(draw: st.DrawFn) -> list[Candidate]:
    found = []
    for i in range(draw(st.integers(1, 4))):
        load = draw(st.none() | pools)
        state: VariantState = draw(st.sampled_from(STATES))
        count = draw(st.integers(0, 400)) if load is None else load.open
        places = draw(st.integers(1, 400)) if load is None else load.places
        found.append(Candidate(f"v{i}", state, count, places, load))
    return found


memories = st.builds(
    Memory,
    pressed=st.dictionaries(
        st.sampled_from(["v0", "v1", "v2"]), st.builds(Pressure, st.floats(0, 100), st.floats(1, 80))
    ),
)


@given(
    candidates=candidate_lists(),
    demand=demands,
    objective=objectives,
    memory=memories,
    policy=st.sampled_from(["best", "balanced", "fast"]),
)
def test_an_allowed_variant_or_overloaded(candidates, demand, objective, memory, policy) -> None:  # type: ignore[no-untyped-def]
    before = Memory(dict(memory.pressed))
    try:
        decision, after = choose(candidates, demand, objective, memory, 100.0, policy=policy)
    except Overloaded:
        first = [one for one in candidates if one.state == "ready"]
        assert all(one.open >= one.places for one in first) or not first
        return
    assert memory == before, "the memory given is not changed"
    chosen = next(one for one in candidates if one.name == decision.variant)
    if any(one.state == "ready" for one in candidates):
        assert chosen.state == "ready"
        assert chosen.open < chosen.places
    if decision.wake is not None:
        assert next(one for one in candidates if one.name == decision.wake).state == "asleep"
    assert decision.variant not in decision.full
    again = choose(candidates, demand, objective, memory, 100.0, policy=policy)
    assert again == (decision, after)


@given(candidates=candidate_lists(), demand=demands, objective=objectives)
def test_no_worse_variant_where_a_better_one_meets_the_objective(candidates, demand, objective) -> None:  # type: ignore[no-untyped-def]
    try:
        decision, _ = choose(candidates, demand, objective, Memory(), 0.0)
    except Overloaded:
        return
    meeting = [
        one.name
        for one in candidates
        if one.state == "ready"
        and one.open < one.places
        and one.pool is not None
        and predict(one.pool, demand, objective).share_of(objective) <= 1
    ]
    if meeting:
        assert decision.variant == meeting[0]
        assert decision.reason == "objective"


@given(candidates=candidate_lists(), demand=demands, objective=objectives)
def test_no_policy_but_best_changes_what_is_remembered(candidates, demand, objective) -> None:  # type: ignore[no-untyped-def]
    memory = Memory({"v0": Pressure(1.0)})
    policies: tuple[Policy, ...] = ("fast", "balanced")
    for policy in policies:
        try:
            _, after = choose(candidates, demand, objective, memory, 2.0, policy=policy)
        except Overloaded:
            continue
        assert after == memory


@given(load=pools, demand=demands, objective=objectives)
def test_more_load_is_never_predicted_to_be_faster(load: Pool, demand: Demand, objective: Objective) -> None:
    now, alone = predict(load, demand, objective), predict(load.alone, demand, objective)
    assert alone.first_s <= now.first_s * (1 + 1e-9)
    assert alone.token_s <= now.token_s * (1 + 1e-9)


def test_the_best_while_it_keeps_up_then_the_next() -> None:
    def variant(open_: int) -> str:
        return choose([ready("a", pool(open_)), ready("b", pool())], CHAT, GENERATION, Memory(), 0.0)[0].variant

    # A step of 90 rows would take 50 ms, but there are 64 slots: it is the wait for one of them that is too long.
    assert [variant(count) for count in (0, 30, 60)] == ["a", "a", "a"]
    assert variant(120) == "b"


def test_a_variant_that_passed_on_is_eased_until_it_no_longer_has_to() -> None:
    def both(open_: int) -> list[Candidate]:
        return [ready("a", pool(open_, base_s=0.02, token_s=0.001)), ready("b", pool(base_s=0.001))]

    full, eased = 30, 25  # 51 ms and 46 ms a token
    decision, memory = choose(both(full), CHAT, GENERATION, Memory(), 0.0)
    assert (decision.variant, decision.full, memory.cause) == ("b", ("a",), "tpot")
    assert choose(both(eased), CHAT, GENERATION, Memory(), 1.0)[0].variant == "a"
    decision, memory = choose(both(eased), CHAT, GENERATION, memory, 1.0)
    assert decision.variant == "b"
    decision, _ = choose(both(15), CHAT, GENERATION, memory, 2.0)
    assert decision.variant == "a"
    assert predict(pool(15, base_s=0.02, token_s=0.001), CHAT, GENERATION).share_of(GENERATION) <= EASED
    assert choose(both(eased), CHAT, GENERATION, memory, 1.0 + HOLD_S)[0].variant == "a"


def test_a_variant_pressed_again_and_again_is_held_longer() -> None:
    candidates = [ready("a", pool(500, base_s=0.02)), ready("b", pool())]
    memory, now, holds = Memory(), 0.0, []
    for _ in range(8):
        _, memory = choose([ready("a", pool(300, base_s=0.02)), candidates[1]], CHAT, GENERATION, memory, now)
        holds.append(memory.pressed["a"].hold_s)
        now += holds[-1] + 1
    assert holds == sorted(holds)
    assert holds[0] == HOLD_S
    assert holds[-1] == MOST_HOLD_S


def on(nodes: str, one: Candidate) -> Candidate:
    return replace(one, shared=frozenset(nodes))


def test_on_shared_cores_a_pressed_variant_takes_nothing_beside_a_better_one() -> None:
    good, fast = on("a", ready("good", pool(0))), on("a", ready("fast", pool(4, 0.002, 0.0002)))
    pressed = Memory({"good": Pressure(0.0)})
    decision, memory = choose([good, fast], CHAT, GENERATION, pressed, 1.0)
    assert (decision.variant, decision.full) == ("fast", ()), "it has room; nothing is passed on for lack of it"
    assert memory.pressed == pressed.pressed, "and it is let go when its time is over"
    assert choose([good, fast], CHAT, GENERATION, pressed, HOLD_S + 1.0)[0].variant == "good"
    elsewhere = on("b", fast)
    assert choose([good, elsewhere], CHAT, GENERATION, pressed, 1.0)[0].variant == "good", "cores of its own"
    slower = on("a", ready("slower", pool(4, 0.02, 0.002)))
    assert choose([good, slower], CHAT, GENERATION, pressed, 1.0)[0].variant == "good", "nothing is gained there"


def test_on_shared_cores_the_load_of_all_counts() -> None:
    """By itself the better variant has room; with what the other one has open it has none."""
    good, fast = ready("good", pool(40)), ready("fast", pool(60, 0.002, 0.0002))
    assert choose([good, fast], CHAT, GENERATION, Memory(), 0.0)[0].variant == "good"
    decision, memory = choose([on("a", good), on("a", fast)], CHAT, GENERATION, Memory(), 0.0)
    assert (decision.variant, decision.full) == ("fast", ("good",))
    assert "good" in memory.pressed


def test_the_preferred_variant_and_why_it_changed() -> None:
    two = [ready("a", pool()), ready("b", pool())]
    memory = prefer(two, Memory(), 0.0)
    assert (memory.preferred, memory.cause) == ("a", "start")
    pressed = Memory({"a": Pressure(0.0)}, "a", "ttft")
    memory = prefer(two, pressed, 1.0)
    assert (memory.preferred, memory.cause) == ("b", "ttft")
    memory = prefer(two, memory, 1.0 + HOLD_S)
    assert (memory.preferred, memory.cause) == ("a", "recovered")
    gone = [Candidate("a", "unavailable", 0, 1, None), ready("b", pool())]
    memory = prefer(gone, memory, 30.0)
    assert (memory.preferred, memory.cause) == ("b", "unavailable")
    assert prefer([gone[0]], memory, 31.0) == memory


def test_a_long_request_is_not_punished_with_the_worst_variant() -> None:
    """No variant could do it in time, even with nothing else to do: the best that is not held up by others does it."""
    huge = Demand(20_000, 50)
    idle = [ready("a", pool()), ready("b", pool(token_s=0.0001))]
    decision, memory = choose(idle, huge, GENERATION, Memory(), 0.0)
    assert (decision.variant, memory.pressed) == ("a", {})
    waiting = Pool(open=10, prompt_tokens=5_000, places=320, slots=64, step_tokens=512, cost=StepCost(0.005, 0.0005))
    assert choose([ready("a", waiting), idle[1]], huge, GENERATION, Memory(), 0.0)[0].variant == "b"


def test_stale_loads_leave_the_fewest_open() -> None:
    stale = [ready("a", None, 5), ready("b", None, 3), ready("c", None, 3)]
    decision, memory = choose(stale, CHAT, GENERATION, Memory(), 0.0)
    assert (decision.variant, decision.reason, memory) == ("b", "stale", Memory())
    decision, _ = choose([ready("a", None, 5), ready("b", pool(3))], CHAT, GENERATION, Memory(), 0.0)
    assert (decision.variant, decision.reason) == ("b", "objective")
    large = Candidate("a", "ready", 5, 3200, None)
    assert choose([large, stale[1]], CHAT, GENERATION, Memory(), 0.0)[0].variant == "a"


def test_sleepers() -> None:
    idle, slow = ready("b", pool()), ready("b", pool(200, base_s=0.02))
    assert choose([asleep("a"), idle], CHAT, GENERATION, Memory(), 0.0)[0].wake is None
    decision, _ = choose([asleep("a"), slow, asleep("c")], CHAT, GENERATION, Memory(), 0.0)
    assert (decision.variant, decision.wake, decision.reason) == ("b", "c", "least_bad")
    decision, _ = choose([asleep("a"), slow], CHAT, GENERATION, Memory(), 0.0)
    assert (decision.variant, decision.wake) == ("b", "a")
    decision, _ = choose([asleep("a")], CHAT, GENERATION, Memory(), 0.0, pinned=True)
    assert (decision.variant, decision.wake, decision.reason) == ("a", "a", "pinned")
    decision, _ = choose([Candidate("a", "unavailable", 0, 1, None), asleep("c")], CHAT, GENERATION, Memory(), 0.0)
    assert (decision.variant, decision.wake) == ("c", "c")


def test_the_sleeper_that_wakes_is_one_that_was_measured_to_be_faster() -> None:
    slow = replace(ready("a", pool(200, base_s=0.02)), speedup=2.0)
    weights, dynamic = replace(asleep("b"), speedup=1.9), replace(asleep("c"), speedup=3.0)
    assert choose([slow, weights, dynamic], CHAT, GENERATION, Memory(), 0.0)[0].wake == "c"
    assert choose([slow, weights], CHAT, GENERATION, Memory(), 0.0)[0].wake is None, "none is faster"
    starting = replace(dynamic, state="starting")
    assert choose([slow, starting, replace(dynamic, name="d")], CHAT, GENERATION, Memory(), 0.0)[0].wake is None
    decision, _ = choose([weights, starting], CHAT, GENERATION, Memory(), 0.0)
    assert (decision.variant, decision.wake) == ("c", None), "it waits for the one that starts"
    unknown = replace(slow, speedup=None)
    assert choose([unknown, weights, dynamic], CHAT, GENERATION, Memory(), 0.0)[0].wake == "b"


def test_policies() -> None:
    two = [ready("a", pool(35, base_s=0.01)), ready("b", pool(5)), ready("c", pool())]
    assert choose(two, CHAT, GENERATION, Memory(), 0.0)[0].variant == "a"
    assert choose(two, CHAT, GENERATION, Memory(), 0.0, policy="balanced")[0].variant == "b"
    assert choose(two, CHAT, GENERATION, Memory(), 0.0, policy="fast")[0].variant == "c"
    same = [ready("a", pool()), ready("b", pool())]
    assert choose(same, CHAT, GENERATION, Memory(), 0.0, policy="fast")[0].variant == "a"


def test_when_all_is_full_the_wait_is_told() -> None:
    full = pool(320, base_s=0.02)
    with pytest.raises(Overloaded, match="320 requests") as caught:
        choose([ready("a", full)], CHAT, GENERATION, Memory(), 0.0)
    predicted = predict(full, CHAT, GENERATION)
    assert caught.value.retry_after_s == pytest.approx(predicted.first_s - 0.5)
    with pytest.raises(ValueError, match="no variant"):
        choose([], CHAT, GENERATION, Memory(), 0.0)
