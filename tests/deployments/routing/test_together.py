"""Work of others on the same cores, as it would be here."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.load import StepCost
from deployments.routing.prediction import Demand, Objective, Pool, predict, rows_for, together

SLOW, FAST = StepCost(0.010, 0.0006), StepCost(0.004, 0.0002)
COSTS = st.builds(StepCost, st.floats(1e-4, 0.1), st.floats(1e-6, 0.01))
SLOTS = 64


def pool(cost: StepCost, open_: int = 0, replicas: int = 1) -> Pool:
    return Pool(replicas, open_, open_, places=300, slots=SLOTS, step_tokens=512, cost=cost, output_tokens=50)


@given(COSTS, st.floats(0.5, 60))
def test_rows_are_those_that_write_so_much(cost: StepCost, rows: float) -> None:
    assert rows_for(rows / cost.seconds(rows), cost) == pytest.approx(rows, rel=1e-6)


def test_no_step_is_quick_enough_for_any_rate() -> None:
    assert rows_for(1 / SLOW.token_s, SLOW) == math.inf
    assert rows_for(0.0, SLOW) == 0


@given(COSTS, st.integers(0, 300), st.integers(1, 3))
def test_at_the_same_cost_they_are_as_many_here(cost: StepCost, open_: int, replicas: int) -> None:
    found = together(pool(cost, 0, replicas), [pool(cost, open_, replicas)])
    assert open_ <= found.open <= open_ + 1  # rounded up
    assert found.begun <= found.open


@given(st.integers(1, 63))
def test_what_runs_fast_elsewhere_takes_more_room_here(open_: int) -> None:
    slower, faster = together(pool(SLOW), [pool(FAST, open_)]), together(pool(FAST), [pool(SLOW, open_)])
    assert slower.open >= open_ >= faster.open
    assert slower.open <= SLOTS, "who would not fit waits there as well"


def test_who_waits_there_waits_here() -> None:
    assert together(pool(FAST), [pool(FAST, SLOTS + 10)]).open == SLOTS + 10


@given(COSTS, COSTS, st.integers(0, 100), st.integers(0, 100))
def test_work_beside_never_makes_it_faster(mine: StepCost, theirs: StepCost, here: int, there: int) -> None:
    demand, objective = Demand(100, 50), Objective(0.5, 0.05)
    alone = predict(pool(mine, here), demand, objective)
    beside = predict(together(pool(mine, here), [pool(theirs, there)]), demand, objective)
    assert beside.first_s >= alone.first_s
    assert beside.token_s >= alone.token_s


def test_what_was_not_measured_counts_as_it_is() -> None:
    found = together(pool(StepCost()), [pool(FAST, 7)])
    assert (found.open, found.begun) == (7, 7)
