"""What rounding a product costs, scheme by scheme, and how it is counted."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.quantization.products import product, relative_errors
from engine.quantization.recipe import Recipe, quantize
from engine.quantization.weight import SCHEMES, QuantizedWeight, Scheme
from tests.engine.quantization.heavy import heavy_weight

BOUNDS: dict[Scheme, float] = {
    "int8-dynamic": 1e-3,
    "int8-static": 1e-3,
    "int8-weight": 1e-4,
    "int4-weight": 2e-2,
    "fp8": 3e-3,
}


@given(st.sampled_from(SCHEMES), st.integers(0, 1000), st.integers(-12, 12))
@settings(max_examples=60, deadline=None)
def test_errors_are_small(scheme: Scheme, seed: int, level: int) -> None:
    x, weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(seed)), heavy_weight(16, 64, seed)
    x *= 10.0**level
    step = float(x.abs().max()) / 127
    recipe = Recipe(scheme, multipliers={"x": torch.full((64,), 1 / step)} if scheme == "int8-static" else {})
    errors = relative_errors(product(x, weight), product(x, quantize("x", weight, recipe)))
    assert float(errors.mean()) < BOUNDS[scheme]


@pytest.mark.parametrize("scheme", ["int8-dynamic", "fp8"])
def test_rows_of_dynamic_products_stand_alone(scheme: Scheme) -> None:
    x, weight = heavy_weight(6, 64), quantize("x", heavy_weight(16, 64), Recipe(scheme))
    among = x.clone()
    among[1:] *= 1e6
    torch.testing.assert_close(product(among, weight)[0], product(x, weight)[0])
    assert not product(torch.zeros(2, 64), weight).any()


def test_static_numbers_are_clamped() -> None:
    weight = quantize("x", torch.eye(32), Recipe("int8-static", multipliers={"x": torch.full((32,), 127.0)}))
    assert isinstance(weight, QuantizedWeight)
    x = torch.linspace(-3, 3, 32).repeat(32, 1)
    torch.testing.assert_close(product(x, weight), x.clamp(-1, 1), atol=0.5 / 127 + 1e-6, rtol=0)


def test_each_row_counts_by_itself() -> None:
    exact = torch.ones(101, 4)
    exact[0] *= 1e4  # one token far longer than the others
    found = exact.clone()
    found[1:] *= 1.1
    assert relative_errors(exact, found).tolist() == pytest.approx([0.0] + [0.01] * 100, rel=1e-4)
    found[0] *= 1.1
    assert float(relative_errors(exact, found)[0]) == pytest.approx(0.01, rel=1e-4)


def test_rows_of_nearly_nothing_do_not_count_for_much() -> None:
    exact = torch.ones(11, 4)
    exact[0] *= 1e-6
    assert float(relative_errors(exact, exact + 1e-3)[0]) == pytest.approx(1e-6, rel=1e-3)
    assert not relative_errors(torch.zeros(2, 3), torch.zeros(2, 3)).any()
