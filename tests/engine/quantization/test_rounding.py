"""Bounds of the rounding error, and that fitting pays where weights are like trained ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.checkpoint import open_checkpoint
from engine.quantization.groups import INT4, INT8, Grid, Rounding, round_groups
from engine.quantization.rounding import fitting_group, round_weight
from engine.quantization.weight import SCHEMES, QuantizedWeight, Scheme, check
from tests.engine.demo_model import demo_gguf
from tests.engine.quantization.heavy import grid_weight, heavy_weight


def rounded(weight: Tensor, scheme: Scheme, rounding: Rounding = "fitted", group: int = 32) -> QuantizedWeight:
    multiplier = torch.ones(weight.shape[1]) if scheme == "int8-static" else None
    found = round_weight(weight, scheme, group=group, rounding=rounding, multiplier=multiplier)
    assert found is not None
    return found


def squared_errors(weight: Tensor, found: QuantizedWeight) -> Tensor:
    """(N, groups of a row)"""
    away: Tensor = (found.dequantized() - weight).unflatten(1, (-1, found.group))
    return away.square().sum(-1)


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    """Any spread, scale and offset; constant groups, rows of zeros, single outliers."""
    rows, groups = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    weight = torch.randn(rows, groups * 32, generator=random) * 10.0 ** draw(st.integers(-12, 6))
    weight += draw(st.sampled_from([0.0, 1.0, -300.0])) * weight.abs().mean()
    kind = draw(st.sampled_from(["plain", "constant", "zero", "outlier"]))
    if kind == "constant":
        weight[0, :32] = weight[0, 0]
    elif kind == "zero":
        weight[0] = 0.0
    elif kind == "outlier":
        weight[0, 3] *= 1e4
    return weight


@given(weights(), st.sampled_from(SCHEMES), st.sampled_from(["nearest", "fitted"]))
@settings(max_examples=150, deadline=None)
def test_parts_fit_together(weight: Tensor, scheme: Scheme, rounding: Rounding) -> None:
    found = rounded(weight, scheme, rounding)
    check("w", found)
    assert found.shape == tuple(weight.shape)
    if found.values.dtype == torch.int8:
        assert int(found.values.min()) >= -127


@given(weights(), st.sampled_from([INT8, INT4]))
@settings(max_examples=150, deadline=None)
def test_nearest_is_within_half_a_step(weight: Tensor, grid: Grid) -> None:
    numbers, scales, zeros = round_groups(weight, 32, grid, "nearest")
    grouped = (numbers.float().unflatten(1, (-1, 32)) - zeros[..., None]) * scales[..., None]
    away = (grouped.flatten(1) - weight).abs().unflatten(1, (-1, 32)).amax(-1)
    largest = weight.abs().unflatten(1, (-1, 32)).amax(-1)
    assert bool((away <= scales * 0.5 + largest * 1e-5).all())


@given(weights(), st.sampled_from(["int8-dynamic", "int8-weight", "int4-weight"]))
@settings(max_examples=150, deadline=None)
def test_fitted_is_never_worse(weight: Tensor, scheme: Scheme) -> None:
    nearest, fitted = (squared_errors(weight, rounded(weight, scheme, r)) for r in ("nearest", "fitted"))
    largest = weight.abs().amax(1, keepdim=True)
    assert bool((fitted <= nearest * (1 + 1e-4) + (largest * 1e-6).square()).all())


@pytest.mark.parametrize(("scheme", "share"), [("int8-weight", 0.985), ("int4-weight", 0.88)])
@pytest.mark.parametrize("group", [32, 64])
def test_fitted_beats_nearest(scheme: Scheme, share: float, group: int) -> None:
    weight = heavy_weight(256, 512)
    nearest, fitted = (
        float(squared_errors(weight, rounded(weight, scheme, r, group)).sum()) for r in ("nearest", "fitted")
    )
    assert fitted < share * nearest


def test_one_value_beyond_the_rest_is_clipped_where_that_pays() -> None:
    weight = torch.rand(4, 32768, generator=torch.Generator().manual_seed(0)) * 2 - 1
    weight[:, 5] = 1.075
    nearest, fitted = (rounded(weight, "int8-dynamic", r) for r in ("nearest", "fitted"))
    assert float(squared_errors(weight, fitted).sum()) < 0.92 * float(squared_errors(weight, nearest).sum())
    assert bool((fitted.dequantized()[:, 5] < 1.01).all())


@pytest.mark.parametrize("rounding", ["nearest", "fitted"])
def test_weights_that_are_on_a_grid_already_stay(rounding: Rounding) -> None:
    weight = grid_weight(64, 8)
    found = rounded(weight, "int4-weight", rounding)
    assert float((found.dequantized() - weight).abs().max()) <= float(weight.abs().max()) * 4e-7


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("level", [0.0, 0.3, -7.0, 1e-35])
def test_constant_weights(scheme: Scheme, level: float) -> None:
    found = rounded(torch.full((2, 64), level), scheme)
    torch.testing.assert_close(found.dequantized(), torch.full((2, 64), level), rtol=1e-6, atol=1e-30)


def test_importance_moves_the_error_to_inputs_that_matter_less() -> None:
    weight = heavy_weight(128, 256)
    importance = torch.full((256,), 0.01)
    importance[::8] = 10.0
    errors = []
    for inputs in (None, importance[None]):
        found = round_weight(weight, "int4-weight", group=32, rounding="fitted", inputs=inputs)
        assert found is not None
        errors.append((found.dequantized() - weight).square())
    plain, weighted = errors
    assert float((weighted * importance).sum()) < 0.8 * float((plain * importance).sum())
    assert float(weighted.sum()) > float(plain.sum())


def test_a_multiplier_is_undone_by_the_weight() -> None:
    weight = heavy_weight(32, 64)
    multiplier = torch.logspace(-2, 2, 64)
    for scheme in ("int8-dynamic", "int8-static", "fp8"):
        found = round_weight(weight, scheme, group=32, rounding="nearest", multiplier=multiplier)
        assert found is not None
        step = 2**-4 if scheme == "fp8" else 0.5 / 127
        bound = (weight / multiplier).abs().amax(1, keepdim=True) * multiplier * step
        assert bool(((found.dequantized() - weight).abs() <= bound * 1.001).all()), scheme


@pytest.mark.parametrize(("group", "width", "found"), [(32, 576, 32), (64, 96, 32), (128, 48, 16), (32, 36, None)])
def test_groups_that_fit(group: int, width: int, found: int | None) -> None:
    assert fitting_group(group, width) == found


def test_bits_do_not_depend_on_threads_or_neighbours() -> None:
    weight = heavy_weight(600, 512)  # several chunks
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = rounded(weight[500:], "int4-weight")
        torch.set_num_threads(2)
        among = rounded(weight, "int4-weight")
    finally:
        torch.set_num_threads(threads)
    for name, part in alone.parts().items():
        assert torch.equal(among.parts()[name][500:], part), name


def test_the_demo_models_four_bits_stay() -> None:
    with open_checkpoint(demo_gguf()) as checkpoint:
        weight = checkpoint.tensor("model.layers.3.mlp.down_proj.weight", torch.float32)
    found = rounded(weight, "int4-weight")
    assert float((found.dequantized() - weight).abs().max()) <= float(weight.abs().max()) * 4e-7
