from __future__ import annotations

import gc
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.load import Load, StepCost
from deployments.routing.fairness import ALPHA, Held, may_add
from deployments.routing.heard import GONE_S, STALE_S
from deployments.routing.open_requests import AT_ONCE, Count, Ticket
from deployments.routing.prediction import Demand, Objective
from deployments.routing.router import Ask, Router, Step
from deployments.variants import VariantInfo
from engine.errors import CallerOverShare, InvalidRequest, ModelNotFound, Overloaded

CHAT = Demand(100, 50)


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


def router(clock: Clock, *variants: VariantInfo) -> Router:
    found: Sequence[VariantInfo] = variants or (VariantInfo("a", retained=1.0), VariantInfo("b", retained=0.97))
    return Router("m", found, Objective(0.5, 0.05), clock)


def load(replica: str = "r", running: int = 0, waiting: int = 0, places: int = 20) -> Load:
    return Load(
        replica,
        running=running,
        waiting=waiting,
        slots=4,
        places=places,
        step_tokens=64,
        cost=StepCost(0.001, 0.0001),
        output_tokens=50,
        tokens_per_s=100,
    )


def test_tickets_count_and_uncount() -> None:
    count = Count()
    first, second = Ticket(count, "x", CHAT, 150.0), Ticket(count, "y", Demand(60, 10, count=3), 90.0)
    assert (count.open, count.prompt_tokens, count.begun) == (4, 160, 0)
    first.begin(100)
    second.begin(20)
    assert (count.open, count.prompt_tokens, count.begun) == (4, 40, 2)
    first.begin(100)
    assert count.begun == 2
    first.close()
    first.close()
    first.begin(5)
    assert (count.open, count.prompt_tokens, count.begun) == (3, 40, 1)
    assert set(count.callers) == {"y"}
    del second
    gc.collect()
    assert (count.open, count.prompt_tokens, count.begun, count.callers) == (0, 0, 0, {})


def test_many_texts_count_as_many_as_are_there_at_once() -> None:
    count = Count()
    ticket = Ticket(count, "x", Demand(20_480, 0, count=2048), 20_480.0)
    assert (count.open, count.prompt_tokens) == (AT_ONCE, 2560)
    ticket.close()
    assert (count.open, count.prompt_tokens) == (0, 0)


def test_quality_and_pins() -> None:
    clock = Clock()
    unknown = VariantInfo("c")
    found = router(clock, VariantInfo("b", retained=0.97), VariantInfo("a", retained=1.0), unknown)
    assert found.choose(Ask(CHAT))[0].variant == "a"
    assert found.choose(Ask(CHAT, pinned="c"))[0].reason == "pinned"
    assert found.choose(Ask(CHAT, min_quality=0.97, policy="fast"))[0].variant == "a"
    with pytest.raises(ModelNotFound, match="Its variants: b, a, c"):
        found.choose(Ask(CHAT, pinned="d"))
    with pytest.raises(InvalidRequest, match=r"that of 'b' is 0\.97"):
        found.choose(Ask(CHAT, pinned="b", min_quality=0.98))
    with pytest.raises(InvalidRequest, match="is not known"):
        found.choose(Ask(CHAT, pinned="c", min_quality=0.5))


def test_states_follow_what_is_heard() -> None:
    clock = Clock()
    found = router(clock, VariantInfo("a", "starting", 1.0), VariantInfo("b", "starting", 0.9, may_sleep=True))
    steps: list[Step] = []
    found.on_step = steps.append

    def states() -> list[tuple[str, int]]:
        return [(one.state, one.replicas) for one in found.variants]

    found.hear("a", [])
    found.hear("b", [])
    assert states() == [("starting", 0), ("asleep", 0)]
    found.hear("a", [load("1"), load("2")])
    found.hear("b", [load()])
    found.look()
    assert states() == [("ready", 2), ("ready", 1)]
    clock.now += GONE_S + 0.1
    found.hear("a", [])
    found.hear("b", [load()])
    found.look()
    assert states() == [("unavailable", 0), ("ready", 1)]
    assert [(one.before, one.after, one.cause) for one in steps] == [("a", "b", "unavailable")]
    clock.now += GONE_S + 0.1
    ticket = found.choose(Ask(CHAT, pinned="b"))[1]
    found.hear("b", [])
    assert states()[1] == ("starting", 0)
    ticket.close()
    found.hear("b", [])
    assert states()[1] == ("asleep", 0)


def test_a_sleeper_that_is_asked_for_is_woken() -> None:
    clock = Clock()
    found = router(clock, VariantInfo("a", retained=1.0), VariantInfo("b", "asleep", 0.9, may_sleep=True))
    woken: list[str] = []
    found.wake = woken.append
    found.choose(Ask(CHAT))
    assert woken == []
    decision, _ = found.choose(Ask(CHAT, pinned="b"))
    assert (decision.variant, woken) == ("b", ["b"])


def test_loads_that_are_too_old() -> None:
    clock = Clock()
    found = router(clock)
    found.hear("a", [load()])
    found.hear("b", [load()])
    first = found.choose(Ask(CHAT))
    clock.now += STALE_S - 0.05
    second = found.choose(Ask(CHAT))
    assert [one[0].reason for one in (first, second)] == ["objective", "objective"]
    clock.now += 0.1
    decision, third = found.choose(Ask(CHAT))  # nothing is known of "a" now; "b" is known to have nothing to do
    assert (decision.variant, decision.reason) == ("b", "objective")
    clock.now += STALE_S + 0.1
    assert found.choose(Ask(CHAT))[0].reason == "stale"
    third.close()


def test_the_work_of_others_counts_too() -> None:
    clock = Clock()
    found = router(clock)
    found.hear("a", [load(running=4, waiting=15)])
    found.hear("b", [load()])
    tickets = [found.choose(Ask(CHAT, pinned="a"))[1]]
    with pytest.raises(Overloaded):
        found.choose(Ask(CHAT, pinned="a"))
    tickets[0].close()
    assert found.choose(Ask(CHAT, pinned="a"))[0].variant == "a"


def test_what_was_passed_on_is_told_as_a_rate() -> None:
    clock = Clock()
    slow = Load("r", slots=4, places=400, step_tokens=64, cost=StepCost(0.03, 0.003), output_tokens=50)
    found = router(clock)
    tickets = []
    for _ in range(200):
        found.hear("a", [slow])
        found.hear("b", [load(places=400)])
        tickets.append(found.choose(Ask(CHAT))[1])
        clock.now += 0.1
    away = sum(1 for _ in tickets) - found.counts.of("a").open
    assert away > 150
    assert found.turned_away_per_s("a") == pytest.approx(10 * 150, rel=0.3)
    clock.now += 60
    assert found.turned_away_per_s("a") < 1


def test_what_a_variant_is_too_slow_for_at_any_load_does_not_count_as_turned_away() -> None:
    clock = Clock()
    slow = Load("r", slots=4, places=400, step_tokens=64, cost=StepCost(0.001, 0.006), output_tokens=50)
    found = router(clock)
    found.hear("a", [slow])
    found.hear("b", [load(places=400)])
    assert found.choose(Ask(CHAT))[0].variant == "b"
    assert found.turned_away_per_s("a") == 0


def test_a_silent_replica_does_not_hide_the_others_and_a_leaving_one_does_not_count() -> None:
    clock = Clock()
    found = router(clock, VariantInfo("a", retained=1.0))
    found.hear("a", [load("hangs"), load("well")])
    for _ in range(50):
        clock.now += 0.1
        found.hear("a", None)
        found.hear_one("a", load("well"))
        found.hear_one("a", load("leaving"))
    assert [(one.state, one.replicas) for one in found.variants] == [("ready", 1)]
    assert found.choose(Ask(CHAT))[0].reason == "objective"


def test_requests_that_ended_meanwhile_are_nobody_elses() -> None:
    clock = Clock()
    found = router(clock, VariantInfo("a", retained=1.0))
    found.hear("a", [load(places=100)])
    tickets = [found.choose(Ask(CHAT))[1] for _ in range(30)]
    found.asking("a")
    while tickets:
        tickets.pop().close()
    found.hear("a", [load(running=4, waiting=26, places=100)], age_s=0.03)
    (candidate,) = [found._heard["a"].candidate(one, clock.now) for one in found.variants]
    assert candidate.open == 0


def test_a_caller_over_its_share() -> None:
    clock = Clock()
    found = router(clock, VariantInfo("a", retained=1.0))
    found.hear("a", [load()])
    kept = [found.choose(Ask(CHAT, caller="greedy"))[1] for _ in range(18)]
    with pytest.raises(Overloaded):  # nobody to share with; what is left is for whoever comes
        found.choose(Ask(CHAT, caller="greedy"))
    kept.append(found.choose(Ask(CHAT, caller="modest"))[1])
    with pytest.raises(CallerOverShare) as caught:
        found.choose(Ask(CHAT, caller="greedy"))
    assert caught.value.retry_after_s >= 1
    kept.clear()
    assert found.choose(Ask(CHAT, caller="greedy"))


def test_shares_go_by_weight() -> None:
    """Two callers who want all they can get, one of three times the weight."""
    found = router(Clock(), VariantInfo("a", retained=1.0))
    found.hear("a", [load(running=4, waiting=4, places=400)])
    kept = deque[Ticket]()
    for _ in range(2000):  # so many rounds of asking; from the 400th on one request is answered in each
        for caller, weight in (("light", 1.0), ("heavy", 3.0)):
            with suppress(Overloaded):
                kept.append(found.choose(Ask(CHAT, caller=caller, weight=weight))[1])
        if len(kept) > 300:
            kept.popleft().close()
    held = {name: work.requests for name, work in found.counts.of("a").callers.items()}
    assert 2.5 < held["heavy"] / held["light"] < 3.5


def test_only_the_variants_that_the_caller_may_use() -> None:
    found = router(Clock(), VariantInfo("a", retained=1.0), VariantInfo("b", retained=0.9))
    for name in ("a", "b"):
        found.hear(name, [load()])
    assert found.choose(Ask(CHAT))[0].variant == "a"
    assert found.choose(Ask(CHAT, only=frozenset({"b"})))[0].variant == "b"
    with pytest.raises(ModelNotFound, match=r"has no variant 'a'\. Its variants: b"):
        found.choose(Ask(CHAT, pinned="a", only=frozenset({"b"})))
    with pytest.raises(ModelNotFound):
        found.choose(Ask(CHAT, only=frozenset()))


def test_what_other_front_doors_sent_takes_up_room_too() -> None:
    found = router(Clock(), VariantInfo("a", retained=1.0))
    found.hear("a", [load(running=4, waiting=4)])
    kept = [found.choose(Ask(CHAT, caller=caller))[1] for caller in ["modest", *["greedy"] * 10]]
    with pytest.raises(CallerOverShare):  # of 20 places one is left, for somebody who has none
        found.choose(Ask(CHAT, caller="greedy"))
    kept.append(found.choose(Ask(CHAT, caller="new"))[1])


@given(mine=st.floats(0, 1000), others=st.floats(0, 1000), room=st.floats(1, 1000), more=st.floats(0, 1000))
def test_shares(mine: float, others: float, room: float, more: float) -> None:
    held = Held(mine, mine + others, room)
    if may_add(held, more) and mine > 0:
        assert mine + more <= ALPHA * room
        assert may_add(Held(mine / 2, mine / 2 + others, room), more)
    assert may_add(Held(0, others, room), more)
