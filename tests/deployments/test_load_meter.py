from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.load import Load, StepCost, capacity
from deployments.load_meter import FORGET_S, FRESH_S, HEARD_S, WINDOW_S, CostMeter, LoadMeter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(meter: LoadMeter, running: int = 0, waiting: int = 0, slots: int = 4) -> Load:
    return meter.load("r", running, waiting, slots=slots, places=20, step_tokens=64)


@given(
    base_s=st.floats(0.0001, 0.1),
    token_s=st.floats(0.00001, 0.01),
    sizes=st.lists(st.integers(1, 512), min_size=20, max_size=200),
)
def test_the_line_of_steps_of_many_sizes_is_found(base_s: float, token_s: float, sizes: list[int]) -> None:
    true = StepCost(base_s, token_s)
    meter = CostMeter()
    for size in [1, 512, *sizes]:
        meter.observe(size, true.seconds(size), 0.0)
    found = meter.cost(0.0)
    mean = sum([1, 512, *sizes]) / (len(sizes) + 2)
    assert found.base_s >= 0
    assert found.token_s >= 0
    assert found.seconds(mean) == pytest.approx(true.seconds(mean), rel=0.35)
    assert found.token_s <= true.token_s * 1.01


@given(seconds=st.floats(0.001, 0.1), size=st.integers(1, 64))
def test_steps_of_one_size_say_what_such_a_step_costs(seconds: float, size: int) -> None:
    meter = CostMeter()
    for _ in range(50):
        meter.observe(size, seconds, 0.0)
    assert meter.cost(0.0).seconds(size) == pytest.approx(seconds, rel=1e-6)


def test_what_is_not_measured_is_not_known() -> None:
    meter = CostMeter()
    assert not meter.cost(5.0).known
    meter.observe(0, 1.0, 0.0)
    assert not meter.cost(5.0).known


def test_a_cost_measured_beside_a_busy_neighbour_is_forgotten() -> None:
    meter, now = CostMeter(), 0.0
    for seconds in [0.01] * 200 + [0.05] * 400:
        now += seconds
        meter.observe(8, seconds, now)
    assert meter.cost(now).seconds(8) == pytest.approx(0.05, rel=0.05)
    half = meter.cost(now + FRESH_S + FORGET_S).seconds(8)
    assert half == pytest.approx(0.03, rel=0.05)
    assert meter.cost(now + 1000).seconds(8) == pytest.approx(0.01, rel=0.05)


def test_what_requests_want_and_still_want() -> None:
    clock = Clock()
    meter = LoadMeter(clock)
    meter.came("a", 10, 20)
    meter.came("b", 30, 5)
    load = told(meter, running=1, waiting=1)
    assert load.prompt_tokens == 40
    assert load.left_tokens == 10 + 20 + 30 + 5
    assert load.waiting_tokens == pytest.approx(65 / 2)
    meter.wrote("a", 4)
    load = told(meter, running=2)
    assert (load.prompt_tokens, load.left_tokens, load.waiting_tokens) == (30, 16 + 35, 0)
    meter.gone("a", finished=True)
    meter.gone("b", finished=False)
    meter.wrote("a", 1)
    load = told(meter)
    assert (load.prompt_tokens, load.left_tokens) == (0, 0)


def test_answers_set_what_is_expected_of_the_next() -> None:
    meter = LoadMeter(Clock())
    for i in range(200):
        meter.came(str(i), 10, 1000)
        meter.wrote(str(i), 40)
        meter.gone(str(i), finished=True)
    assert told(meter).output_tokens == pytest.approx(40, abs=1)
    meter.came("x", 10, 1000)
    assert told(meter).left_tokens == pytest.approx(50, abs=1)
    meter.wrote("x", 500)
    assert told(meter).left_tokens == 1


def test_speed_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    meter = LoadMeter(clock)
    meter.came("a", 100, 50)
    for _ in range(10):
        clock.now += 0.1
        meter.step(20, 0.05)
    meter.wrote("a", 1)
    load = told(meter, running=1)
    assert load.tokens_per_s == pytest.approx(200 / WINDOW_S)
    assert load.prompt_per_s == pytest.approx(100 / WINDOW_S)
    clock.now += WINDOW_S + 0.1
    load = told(meter, running=1)
    assert (load.tokens_per_s, load.prompt_per_s) == (0, 0)


def test_what_front_doors_took_elsewhere_is_added_up_while_they_tell() -> None:
    clock = Clock()
    meter = LoadMeter(clock)
    meter.turned_away("a", 10.0)
    meter.turned_away("b", 5.0)
    meter.turned_away("a", 20.0)
    assert told(meter).turned_away_per_s == 25.0
    clock.now += HEARD_S
    meter.turned_away("b", 5.0)
    assert told(meter).turned_away_per_s == 25.0
    clock.now += 0.1
    assert told(meter).turned_away_per_s == 5.0, "one that is gone counts no more"


def test_capacity_is_told_once_full_batches_were_seen() -> None:
    meter = LoadMeter(Clock())
    meter.came("a", 10, 50)
    meter.step(10, 0.01)
    assert told(meter, running=1, slots=64).capacity_tokens_per_s == 0
    assert told(meter, running=16, slots=64).capacity_tokens_per_s > 0


@given(
    base_s=st.floats(0, 0.1),
    token_s=st.floats(0, 0.1),
    slots=st.integers(1, 256),
    prompt=st.floats(0, 1000),
    output=st.floats(0, 1000),
)
def test_capacity_grows_with_the_batch(base_s: float, token_s: float, slots: int, prompt: float, output: float) -> None:
    cost = StepCost(base_s, token_s)
    one, more = capacity(cost, slots, prompt, output), capacity(cost, slots + 1, prompt, output)
    assert 0 <= one <= more * (1 + 1e-9)
