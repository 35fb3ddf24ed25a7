"""The policy against simulated load: constant levels, a step, a burst, a day, and to zero and back."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from deployments.scaling import PAUSE_S, STABLE_S, UP, Bounds
from tests.deployments.scaling.simulation import CAPACITY, START_S, Simulation, steady

DECISION_S = 5.0  # to see a load, and to tell a step from a burst
SETTLED_S = 200.0
TTFT_S = 0.5

ONE_TO_EIGHT = Bounds(1, 8)


def poisson(rate: float, tokens: int, start_s: float, end_s: float, seed: int) -> list[tuple[float, int]]:
    """`rate` tokens/s on average; neither the gaps nor the lengths are even."""
    draw = random.Random(seed)
    arrivals, at = [], start_s
    while (at := at + draw.expovariate(rate / tokens)) < end_s:
        arrivals.append((at, max(1, round(draw.expovariate(1 / tokens)))))
    return arrivals


@pytest.mark.parametrize("measured", [True, False], ids=["measured", "learned"])
def test_a_constant_load_moves_nothing_once_it_has_settled(measured: bool) -> None:
    for level in (0.05, 0.4, 0.6, 0.79, 0.81, 0.99, 1.2, 1.6, 2.0, 2.41, 3.3, 4.7, 5.9):
        simulation = Simulation(ONE_TO_EIGHT, measured=measured)
        simulation.run(steady(level * CAPACITY, 100, 0, 400), 400)
        assert not simulation.changes(SETTLED_S), f"load {level}: {simulation.targets}"
        assert simulation.target >= level, f"load {level} is more than {simulation.target} replicas can do"
        assert simulation.target <= max(1, math.ceil(level / UP) + 2), f"load {level}: {simulation.targets}"
        assert max(wait for arrival, wait in simulation.waits if arrival > SETTLED_S) < TTFT_S


@pytest.mark.parametrize("level", [0.3, 0.75, 1.5, 2.6, 4.1])
def test_an_uneven_load_of_constant_mean_does_not_swing(level: float) -> None:
    simulation = Simulation(ONE_TO_EIGHT)
    simulation.run(poisson(level * CAPACITY, 100, 0, 1200, seed=1), 1200)
    settled = [simulation.target_at(SETTLED_S), *(target for _, target in simulation.changes(SETTLED_S))]
    turns = sum((a < b) != (b < c) for a, b, c in zip(settled, settled[1:], settled[2:], strict=False))
    assert turns <= 1, simulation.targets
    assert max(settled) - min(settled) <= 1


@pytest.mark.parametrize("factor", [1.5, 2.5, 4.0])
def test_a_step_is_met_as_soon_as_one_start_takes(factor: float) -> None:
    simulation = Simulation(ONE_TO_EIGHT)
    load = steady(0.4 * CAPACITY, 100, 0, 100) + steady(factor * CAPACITY, 100, 100, 300)
    simulation.run(load, 300)
    assert simulation.target_at(100) == 1
    assert simulation.target_at(100 + DECISION_S) >= factor, "one look at the load is enough to know what it needs"
    late = [wait for arrival, wait in simulation.waits if arrival > 100 + DECISION_S + START_S + 1]
    assert max(late) < TTFT_S


def test_replicas_go_one_by_one_when_the_load_has_been_low_for_long() -> None:
    simulation = Simulation(ONE_TO_EIGHT)
    spans = ((0.4, 0, 60), (3, 60, 200), (0.4, 200, 500))
    simulation.run([one for level, *span in spans for one in steady(level * CAPACITY, 100, *span)], 500)
    down = [(at, target) for at, target in simulation.targets if at > 200]
    assert simulation.target_at(200) >= 4
    assert [target for _, target in down] == list(range(simulation.target_at(200) - 1, 0, -1))
    assert next(at for at, target in down if target < 4) >= 200 + STABLE_S, "four were needed until 200"
    assert all(later - earlier >= PAUSE_S for (earlier, _), (later, _) in pairwise(down))


def test_a_burst_that_drains_soon_brings_little() -> None:
    simulation = Simulation(ONE_TO_EIGHT)
    burst = [(100.0, 100)] * 80  # 15 s of one replica
    simulation.run(sorted(steady(0.2 * CAPACITY, 100, 0, 300) + burst), 300)
    assert max(target for _, target in simulation.targets) <= 3
    assert simulation.target == 1


def test_to_zero_when_idle_and_back_for_one_request() -> None:
    simulation = Simulation(Bounds(0, 1, idle_s=120))
    simulation.run([*steady(0.3 * CAPACITY, 100, 0, 60), (400.0, 50)], 700)
    *_, (woken_s, woken), (asleep_s, asleep) = simulation.targets
    assert [target for _, target in simulation.targets] == [0, 1, 0, 1, 0]
    assert 180 <= simulation.targets[2][0] <= 185, "120 s after the last answer"
    assert (woken, asleep) == (1, 0)
    assert woken_s - 400 <= 2
    assert asleep_s - woken_s >= 120
    ((_, wait),) = [one for one in simulation.waits if one[0] == 400]
    assert wait <= START_S + 2


def test_with_a_minimum_it_never_sleeps() -> None:
    simulation = Simulation(Bounds(1, 4, idle_s=10))
    simulation.run([], 300)
    assert simulation.targets == [(0.0, 1)]


def test_a_day() -> None:
    """Hours are two minutes here: low at night, two peaks, an outage of the callers at noon."""
    hours = [0.2, 0.1, 0.05, 0.05, 0.05, 0.1, 0.3, 0.8, 1.8, 2.6, 3.2, 3.0, 0, 2.2, 2.6, 3.4, 3.8, 3.0, 2.0, 1.4]
    hours += [0.9, 0.6, 0.4, 0.3]
    load = []
    for hour, level in enumerate(hours):
        if level:
            load += poisson(level * CAPACITY, 100, 120 * hour, 120 * (hour + 1), seed=hour)
    simulation = Simulation(Bounds(1, 8))
    simulation.run(load, 24 * 120)
    slow = [wait for _, wait in simulation.waits if wait > TTFT_S]
    assert len(slow) < 0.02 * len(load), "a load that rises by the hour makes few wait"
    assert simulation.target_at(5 * 120) == 1
    assert len(simulation.targets) < 40
    used = simulation.replica_seconds / (24 * 120)
    assert used < 0.65 * max(target for _, target in simulation.targets), "fewer than the peak needs, most of the day"
