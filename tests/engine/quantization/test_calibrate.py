"""Calibration chooses by measured error: what it needs, and nothing where nothing is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine.quantization.calibrate import Calibration, Options, choose, product_error, weight_error
from engine.quantization.compensation import describe_inputs
from engine.quantization.observing import Observation
from engine.quantization.recipe import Recipe, quantize
from engine.quantization.weight import SCHEMES, QuantizedWeight, Scheme
from tests.engine.quantization.heavy import correlated, heavy_weight, outlying_inputs

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
    x[::40, 5] *= 12  # a little beyond the rest, and seldom
    rare = seen(x)
    options = Options("int8-static", strengths=())
    chosen = choose("x", WEIGHT, rare, options)
    each = [choose("x", WEIGHT, rare, replace(options, observers=(one,))).error for one in options.observers]
    assert chosen.error == min(each)
    assert chosen.error < max(each)


def test_no_clip_ruins_the_tokens_that_are_far_longer_than_the_rest() -> None:
    x = torch.randn(2000, 128, generator=torch.Generator().manual_seed(8))
    x[5, 5] = 100.0
    assert choose("x", WEIGHT, seen(x), Options("int8-static", strengths=())).observer == "min-max"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_is_that_of_the_recipe(scheme: Scheme) -> None:
    calibration = Calibration(Options(scheme), {"x": OUTLYING})
    assert calibration.transform("x", WEIGHT) is WEIGHT
    found = quantize("x", WEIGHT, calibration.recipe())
    assert product_error(WEIGHT, found, OUTLYING) == pytest.approx(calibration.choices["x"].error, rel=0.5)
    nearest = Calibration(Options(scheme, rounding="nearest", strengths=()), {"x": OUTLYING})
    nearest.transform("x", WEIGHT)
    assert calibration.choices["x"].error <= nearest.choices["x"].error * 1.01
    if scheme == "int4-weight":
        assert calibration.choices["x"].error < nearest.choices["x"].error * 0.8
        assert calibration.choices["x"].inputs is not None


def test_products_without_data_get_what_needs_none() -> None:
    calibration = Calibration(Options("int8-static"), {"x": OUTLYING, "y": seen(torch.ones(1, 128))})
    calibration.transform("x", WEIGHT)
    calibration.transform("y", WEIGHT)  # of which one row says nothing
    recipe = calibration.recipe({"z": "bf16"})
    assert recipe.kept == {"y": "int8-dynamic", "z": "bf16"}
    found = quantize("y", WEIGHT, recipe)
    assert isinstance(found, QuantizedWeight)
    assert found.scheme == "int8-dynamic"
    assert 0 < calibration.choices["y"].error < 1e-3
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


def test_the_error_of_an_embedding_counts_with_its_heads() -> None:
    head = seen(correlated(600, 128, seed=1))
    compensated, plain = (
        quantize("head", WEIGHT, Recipe("int4-weight", inputs=inputs))
        for inputs in ({"head": describe_inputs(head.sample, head.channels.mean_square)}, {})
    )
    errors = [product_error(WEIGHT, found, head) for found in (compensated, plain)]
    head.looked_up = True
    both = [product_error(WEIGHT, found, head) for found in (compensated, plain)]
    added = [together - alone for together, alone in zip(both, errors, strict=True)]
    assert added == pytest.approx([weight_error(WEIGHT, found) for found in (compensated, plain)], rel=1e-3)
    assert errors[0] < errors[1]
    assert added[0] > added[1]
