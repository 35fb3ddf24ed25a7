"""Products are kept by what they cost: enough of them, and few."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.quantization.sensitivity import choose_kept, measured, scaled

LOSSES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-0.1, 1.0), min_size=1)


def left(losses: dict[str, float], kept: tuple[str, ...]) -> float:
    return sum(max(0.0, loss) for name, loss in losses.items() if name not in kept)


@given(LOSSES, st.floats(0, 2))
def test_the_rest_is_within_the_budget_and_nothing_is_kept_in_vain(losses: dict[str, float], budget: float) -> None:
    kept = choose_kept(losses, dict.fromkeys(losses, 100), budget)
    assert left(losses, kept) <= budget + 1e-9
    for name in kept:
        assert left(losses, tuple(other for other in kept if other != name)) > budget
    # Of equal sizes no smaller set would do.
    for fewer in combinations(losses, max(0, len(kept) - 1)):
        assert not kept or left(losses, fewer) > budget - 1e-9


@given(LOSSES, st.floats(0, 2), st.integers(1, 1000))
def test_sizes(losses: dict[str, float], budget: float, seed: int) -> None:
    sizes = {name: 1 + (seed * ord(name)) % 97 for name in losses}
    kept = choose_kept(losses, sizes, budget)
    assert left(losses, kept) <= budget + 1e-9
    for name in kept:
        assert left(losses, tuple(other for other in kept if other != name)) > budget


def test_a_small_product_goes_before_a_large_one_that_costs_the_same() -> None:
    losses, sizes = {"head": 0.5, "layers.0.down": 0.5, "layers.0.up": 0.01}, {"head": 1000, "layers.0.down": 10}
    assert choose_kept(losses, {**sizes, "layers.0.up": 10}, 0.52) == ("layers.0.down",)
    assert choose_kept(losses, {**sizes, "layers.0.up": 10}, 2.0) == ()


def test_losses_in_proportion_to_errors() -> None:
    assert scaled({"a": 0.1, "b": 0.3}, 2.0) == pytest.approx({"a": 0.5, "b": 1.5})
    assert scaled({"a": 0.0}, 2.0) == {"a": 0.0}


def test_only_the_worst_are_measured() -> None:
    asked: list[str] = []

    def measure(name: str) -> float:
        asked.append(name)
        return {"a": 0.4, "b": -0.01}[name]

    found = measured({"c": 0.01, "a": 0.2, "b": 0.1}, measure, most=2)
    assert asked == ["a", "b"]
    assert found == pytest.approx({"a": 0.4, "b": 0.0, "c": 0.01 * 1.0})
