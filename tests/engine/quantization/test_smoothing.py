"""Smoothing changes nothing but the rounding, and makes that cheap where few inputs are far larger than the rest."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.quantization.products import product, relative_errors
from engine.quantization.recipe import Recipe, quantize
from engine.quantization.smoothing import REACH, multipliers
from tests.engine.quantization.heavy import heavy_weight, outlying_inputs


@given(st.integers(0, 1000), st.floats(0, 1), st.integers(-20, 20), st.integers(-20, 20))
@settings(max_examples=60, deadline=None)
def test_products_stay_as_they_are(seed: int, strength: float, inputs: int, columns: int) -> None:
    x, weight = outlying_inputs(8, 64, seed) * 10.0**inputs, heavy_weight(16, 64, seed) * 10.0**columns
    factor = multipliers(x.abs().amax(0), weight.abs().amax(0), strength)
    assert abs(float(factor.log().mean())) < 1
    assert bool(((factor >= 0.99 / REACH) & (factor <= 1.01 * REACH)).all())
    exact = x.double() @ weight.double().T
    smoothed = (x * factor).double() @ (weight / factor).double().T
    scale = x.double().abs() @ weight.double().abs().T
    assert bool(((smoothed - exact).abs() <= scale * 1e-6).all())


def test_the_ends_equalize_one_side() -> None:
    inputs, columns = torch.tensor([1.0, 10.0, 100.0]), torch.tensor([3.0, 1.0, 2.0])
    torch.testing.assert_close(*(m := inputs * multipliers(inputs, columns, 1.0))[:2].split(1))
    torch.testing.assert_close(m[1:2], m[2:])
    by_columns = columns / multipliers(inputs, columns, 0.0)
    torch.testing.assert_close(by_columns, by_columns.mean().expand(3))


@pytest.mark.parametrize("dead", ["inputs", "columns", "both"])
def test_inputs_that_are_always_zero(dead: str) -> None:
    inputs, columns = torch.rand(16) + 0.1, torch.rand(16) + 0.1
    if dead != "columns":
        inputs[3] = 0.0
    if dead != "inputs":
        columns[:] = 0.0
    factor = multipliers(inputs, columns, 0.5)
    assert bool((factor.isfinite() & (factor > 0)).all())


@pytest.mark.parametrize("static", [False, True])
def test_outlying_inputs_lose_less(static: bool) -> None:
    x, weight = outlying_inputs(128, 256), heavy_weight(64, 256)
    exact = product(x, weight)
    errors = []
    for factor in (torch.ones(256), multipliers(x.abs().amax(0), weight.abs().amax(0), 0.5)):
        step = float((x * factor).abs().max()) / 127 if static else 1.0
        recipe = Recipe("int8-static" if static else "int8-dynamic", multipliers={"x": factor / step})
        errors.append(float(relative_errors(exact, product(x, quantize("x", weight, recipe))).mean()))
    assert errors[1] < errors[0] / 3
