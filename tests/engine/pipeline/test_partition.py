from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.pipeline.partition import Cost, Costs, Device, given_boundaries, partition

NOTHING = Cost(0.0, 0)
ANY = Device()

cost = st.builds(Cost, st.floats(0, 10) | st.integers(0, 3).map(float), st.integers(0, 20))
device = st.builds(Device, st.none() | st.integers(0, 120), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
models = st.builds(Costs, st.lists(cost, min_size=1, max_size=8).map(tuple), cost, cost)


def equal_layers(count: int, first: float = 0, last: float = 0) -> Costs:
    return Costs((Cost(0.1, 1),) * count, Cost(first, 0), Cost(last, 0))


def every_choice(layers: int, stages: int) -> list[tuple[int, ...]]:
    return [(0, *cuts, layers) for cuts in combinations(range(1, layers), stages - 1)]


def stage_times(costs: Costs, boundaries: tuple[int, ...], devices: list[Device]) -> list[float] | None:
    """The slowest first; None where a stage has too little memory. Written apart from the code that it checks."""
    times = []
    for index, (start, end) in enumerate(pairwise(boundaries)):
        parts = [*costs.layers[start:end]]
        parts += [costs.first] * (index == 0) + [costs.last] * (index == len(devices) - 1)
        memory = devices[index].memory
        if memory is not None and sum(part.bytes for part in parts) > memory:
            return None
        times.append(math.fsum(part.seconds for part in parts) / devices[index].speed)
    return sorted(times, reverse=True)


@settings(max_examples=300, deadline=None)
@given(models, st.data())
def test_it_is_what_trying_everything_finds(costs: Costs, data: st.DataObject) -> None:
    layers = len(costs.layers)
    devices = data.draw(st.lists(device, min_size=1, max_size=layers))
    found = {choice: stage_times(costs, choice, devices) for choice in every_choice(layers, len(devices))}
    possible = [(times, choice) for choice, times in found.items() if times is not None]
    if possible:
        assert partition(costs, devices) == min(possible)[1]
    else:
        with pytest.raises(ConfigError, match="cannot be shared among stages"):
            partition(costs, devices)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12))
def test_equal_layers_are_shared_evenly_and_earlier_stages_are_not_longer(layers: int, stages: int) -> None:
    if stages > layers:
        with pytest.raises(ConfigError, match=f"{stages} stages are not possible: the model has {layers} layers"):
            partition(equal_layers(layers), [ANY] * stages)
        return
    sizes = [end - start for start, end in pairwise(partition(equal_layers(layers), [ANY] * stages))]
    assert sizes == sorted(sizes)
    assert max(sizes) - min(sizes) <= 1


def test_the_head_counts() -> None:
    assert partition(equal_layers(12), [ANY] * 2) == (0, 6, 12)
    assert partition(equal_layers(12, last=0.4), [ANY] * 2) == (0, 8, 12)
    assert partition(equal_layers(12, first=0.4), [ANY] * 2) == (0, 4, 12)
    assert partition(equal_layers(3, last=100), [ANY] * 2) == (0, 2, 3), "the last stage has a layer all the same"


def test_a_fast_device_gets_more() -> None:
    assert partition(equal_layers(12), [Device(speed=3.0), Device(speed=1.0)]) == (0, 9, 12)


def test_little_memory_is_respected() -> None:
    assert partition(equal_layers(12), [Device(memory=2), ANY, ANY]) == (0, 2, 7, 12)
    costs = Costs((Cost(1, 1 << 20),) * 12, NOTHING, NOTHING)
    with pytest.raises(ConfigError, match="takes 12 MiB and cannot be shared among stages with 5 MiB, 6 MiB") as caught:
        partition(costs, [Device(memory=5 << 20), Device(memory=6 << 20)])
    assert caught.value.param == "stages"


def test_a_large_model_is_no_work() -> None:
    boundaries = partition(equal_layers(96, first=0.3, last=1.5), [ANY] * 16)
    assert len(boundaries) == 17
    assert boundaries[-1] == 96


def test_stages_cost_what_their_parts_do() -> None:
    costs = Costs((Cost(1, 10), Cost(2, 20), Cost(3, 30)), Cost(4, 40), Cost(5, 50))
    first, last = costs.stages((0, 2, 3), [Device(speed=2.0), ANY])
    assert (first, last) == (Cost(3.5, 70), Cost(8, 80))
    assert costs.stages((0, 3), [ANY]) == (Cost(15, 150),)


def test_a_given_balance_is_taken() -> None:
    assert given_boundaries([2, 2, 2], 6) == (0, 2, 4, 6)
    assert given_boundaries((19, 11), 30, stages=2) == (0, 19, 30)


@pytest.mark.parametrize(
    ("balance", "stages", "complaint"),
    [
        ([], None, "each stage needs at least one layer"),
        ([6, 0], None, "each stage needs at least one layer"),
        ([7, -1], None, "each stage needs at least one layer"),
        ([2, 2, 2], 2, "is for 3 stages and there are 2"),
        ([2, 2], None, "places 4 layers and the model has 6"),
        ([2, 2, 3], 3, "places 7 layers and the model has 6"),
    ],
)
def test_a_balance_that_does_not_fit_is_refused(balance: list[int], stages: int | None, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        given_boundaries(balance, 6, stages)
    assert caught.value.param == "balance"
