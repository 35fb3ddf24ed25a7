"""What holds for any load and any history."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.scaling import FULL_S, GROWTH_S, MARK_S, STABLE_S, Bounds, Memory, ReplicaLoad, Seen, decide

Moment = tuple[float, list[ReplicaLoad], int]  # seconds since the last, what replicas tell, requests without one

amounts = st.floats(0, 1e6, allow_nan=False)
counts = st.integers(0, 500)
loads = st.builds(ReplicaLoad, counts, counts, amounts, amounts, amounts, amounts, amounts)
bounds = st.tuples(st.integers(0, 3), st.integers(1, 6), st.floats(1, 600)).map(
    lambda drawn: Bounds(drawn[0], max(drawn[0], drawn[1]), drawn[2])
)
moments = st.lists(st.tuples(st.floats(0, 30), st.lists(loads, max_size=6), counts), min_size=1, max_size=20)


@settings(max_examples=60)
@given(bounds, moments)
def test_never_outside_its_bounds_and_never_down_by_more_than_one(limits: Bounds, history: list[Moment]) -> None:
    memory, now, target = Memory(), 0.0, max(1, limits.min)
    for seconds, told, queued in history:
        now += seconds
        current = min(len(told), target)
        before = target
        target, memory = decide(Seen(told[:current], current, target, queued), limits, memory, now)
        assert limits.min <= target <= limits.max
        assert target >= before - 1
        if target == 0:
            assert before == 0 or not any(load.running or load.waiting for load in told[:current])
        assert len(memory.queues) <= GROWTH_S / MARK_S + 2
        assert len(memory.needs) <= STABLE_S / MARK_S + 2


@settings(max_examples=40)
@given(st.floats(1, 5000), st.floats(0.01, 20), st.integers(1, 12))
def test_a_constant_load_ends_at_one_number(capacity: float, share: float, most: int) -> None:
    """Whatever the load, what is told does not change with what is decided beyond its sharing: one move, then rest."""
    memory, target, seen = Memory(), 1, []
    for second in range(250):
        velocity = min(share * capacity, target * capacity)
        each = ReplicaLoad(1, 0, 0, 100, velocity / target, capacity)
        target, memory = decide(Seen([each] * target, target, target), Bounds(1, most), memory, float(second))
        seen.append(target)
    assert len(set(seen[150:])) == 1, seen


def told(**load: float) -> Seen:
    return Seen([ReplicaLoad(**load)], 1, 1)


def test_open_requests_alone_are_no_reason() -> None:
    """Five hundred requests that want little are no load."""
    seen = told(running=500, velocity=100, left=500, capacity=1000)
    memory = Memory()
    for second in range(30):
        target, memory = decide(seen, Bounds(1, 8), memory, float(second))
        assert target == 1


def test_what_went_elsewhere_counts_as_coming() -> None:
    target, _ = decide(told(running=1, velocity=300, capacity=500, turned_away=600), Bounds(1, 8), Memory(), 0.0)
    assert target == 3


def test_nothing_is_done_while_nothing_is_known() -> None:
    assert decide(told(running=1, velocity=450), Bounds(1, 8), Memory(), 0.0)[0] == 1, "and nothing waits"


def test_a_full_replica_shows_its_capacity() -> None:
    memory = Memory()
    full = told(running=32, waiting=40, queue=4000, left=8000, velocity=500)
    for tenth in range(int(10 * FULL_S) + 2):
        target, memory = decide(full, Bounds(1, 8), memory, tenth / 10)
    assert memory.capacity == 500
    assert target == 2


def test_a_replica_that_starts_is_not_idle() -> None:
    memory = Memory()
    for second in range(100):
        target, memory = decide(Seen([], 0, 1), Bounds(0, 4, idle_s=10), memory, float(second))
        assert target == 1, "the start takes longer than it may idle"


def test_one_that_sleeps_wakes_for_whoever_waits() -> None:
    assert decide(Seen([], 0, 0), Bounds(0, 4), Memory(), 0.0)[0] == 0
    assert decide(Seen([], 0, 0, queued=1), Bounds(0, 4), Memory(), 0.0)[0] == 1
