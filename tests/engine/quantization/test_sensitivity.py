"""Products are kept by what the model gains: enough of them, and few."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.quantization.sensitivity import find_kept, ranges

COSTS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1.0), min_size=1)


def keep(costs: dict[str, float], budget: float, sizes: dict[str, int] | None = None) -> tuple[tuple[str, ...], int]:
    """What is kept where each product alone costs so much, and how often the model was measured."""
    asked = 0

    def loss(kept: frozenset[str]) -> float:
        nonlocal asked
        asked += 1
        return sum(cost for name, cost in costs.items() if name not in kept)

    return find_kept([(name,) for name in costs], sizes or dict.fromkeys(costs, 100), loss, budget), asked


@given(COSTS, st.floats(0, 2))
def test_the_rest_is_within_the_budget_and_the_fewest_are_kept(costs: dict[str, float], budget: float) -> None:
    kept, asked = keep(costs, budget)
    assert sum(cost for name, cost in costs.items() if name not in kept) <= budget + 1e-9
    dearest = sorted(costs.values(), reverse=True)
    assert not kept or sum(dearest[len(kept) - 1 :]) > budget - 1e-9
    assert asked <= 2 + 2 * len(costs)


def test_a_small_product_goes_before_a_large_one_that_costs_the_same() -> None:
    costs, sizes = {"head": 0.5, "down": 0.5, "up": 0.01}, {"head": 1000, "down": 10, "up": 10}
    assert keep(costs, 0.52, sizes)[0] == ("down",)
    assert keep(costs, 2.0, sizes) == ((), 1)


def test_what_gains_nothing_is_not_kept_and_gains_need_not_add_up() -> None:
    def loss(kept: frozenset[str]) -> float:
        return 1.0 - 0.5 * bool(kept & {"a", "b"}) - 0.4 * ("c" in kept) + 0.1 * ("d" in kept)

    groups = [(name,) for name in "abcd"]
    assert find_kept(groups, dict.fromkeys("abcd", 1), loss, 0.2) == ("a", "b", "c")


def test_a_budget_that_nothing_meets_does_not_keep_everything() -> None:
    costs = {"a": 0.5, "b": 0.4, "c": 0.05, "d": 0.05}

    def loss(kept: frozenset[str]) -> float:
        return 0.2 + sum(cost for name, cost in costs.items() if name not in kept)

    assert find_kept([(name,) for name in costs], dict.fromkeys(costs, 1), loss, 0.1) == ("a", "b")


def test_layers_are_cut_into_ranges_by_kind() -> None:
    names = [f"layers.{i}.{part}" for i in range(7) for part in ("qkv", "down")]
    found = ranges([*names, "head"])
    assert sorted(name for group in found for name in group) == sorted([*names, "head"])
    assert found[:3] == [
        ("layers.0.qkv", "layers.1.qkv"),
        ("layers.2.qkv", "layers.3.qkv", "layers.4.qkv"),
        ("layers.5.qkv", "layers.6.qkv"),
    ]
    assert found[-1] == ("head",)
    assert ranges(["encoder.0.up", "decoder.0.up"]) == [("encoder.0.up",), ("decoder.0.up",)]
