"""Calibration chooses by measured error: what it needs, and nothing where nothing is needed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.quantization.calibrate import Calibration, Options, choose, product_error
from engine.quantization.observing import Observation
from engine.quantization.recipe import Recipe, quantize
from engine.quantization.weight import SCHEMES, QuantizedWeight, Scheme
from tests.engine.quantization.heavy import heavy_weight, outlying_inputs

WEIGHT = heavy_weight(96, 128)


def seen(x: Tensor) -> Observation:
    found = Observation("x", x.shape[1])
    for part in x.split(50):
        found.see(part)
    return found


CALM = seen(torch.randn(600, 128, generator=torch.Generator().manual_seed(7)))
OUTLYING = seen(outlying_inputs(600, 128))


def test_smoothing_only_where_inputs_lie_out() -> None:
    options = Options("int8-dynamic")
    even = torch.randn(96, 128, generator=torch.Generator().manual_seed(9))
    assert choose("x", even, CALM, options).multiplier is None
    choice = choose("x", WEIGHT, OUTLYING, options)
    assert choice.strength in options.strengths
    without = choose("x", WEIGHT, OUTLYING, Options("int8-dynamic", strengths=()))
    assert without.multiplier is None
    assert choice.error < without.error / 3


def test_static_products_choose_a_clip() -> None:
    x = torch.randn(2000, 128, generator=torch.Generator().manual_seed(8))
    x[5, 5] = 300.0  # in one row of 2000
    rare = seen(x)
    plain = choose("x", WEIGHT, rare, Options("int8-static", observers=("min-max",), strengths=()))
    chosen = choose("x", WEIGHT, rare, Options("int8-static", strengths=()))
    assert chosen.observer in ("percentile", "mse")
    assert chosen.error < plain.error / 2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_is_that_of_the_recipe(scheme: Scheme) -> None:
    calibration = Calibration(Options(scheme), {"x": OUTLYING})
    assert calibration.transform("x", WEIGHT) is WEIGHT
    found = quantize("x", WEIGHT, calibration.recipe())
    assert product_error(WEIGHT, found, OUTLYING) == pytest.approx(calibration.errors["x"], rel=1e-3)
    nearest = Calibration(Options(scheme, rounding="nearest", strengths=()), {"x": OUTLYING})
    nearest.transform("x", WEIGHT)
    assert calibration.errors["x"] <= nearest.errors["x"] * 1.01
    if scheme == "int4-weight":
        assert calibration.errors["x"] < nearest.errors["x"] * 0.8
        assert calibration.choices["x"].importance is not None


def test_products_without_data_get_what_needs_none() -> None:
    calibration = Calibration(Options("int8-static"), {"x": OUTLYING})
    calibration.transform("x", WEIGHT)
    calibration.transform("y", WEIGHT)
    recipe = calibration.recipe({"z": "bf16"})
    assert recipe.kept == {"y": "int8-dynamic", "z": "bf16"}
    found = quantize("y", WEIGHT, recipe)
    assert isinstance(found, QuantizedWeight)
    assert found.scheme == "int8-dynamic"
    assert 0 < calibration.errors["y"] < 1e-3
    assert calibration.sizes == {"x": 96 * 128, "y": 96 * 128}


def test_what_is_kept_needs_no_tensors() -> None:
    calibration = Calibration(Options("int8-static"), {"x": OUTLYING})
    calibration.transform("x", WEIGHT)
    recipe = calibration.recipe({"x": "bf16"})
    assert not recipe.multipliers
    assert recipe.digest() == Recipe("int8-static", kept={"x": "bf16"}).digest()


def test_the_same_data_makes_the_same_recipe() -> None:
    digests = set()
    for _ in range(2):
        calibration = Calibration(Options("int8-static"), {"x": seen(outlying_inputs(600, 128))})
        calibration.transform("x", WEIGHT)
        digests.add(calibration.recipe().digest())
    assert len(digests) == 1
