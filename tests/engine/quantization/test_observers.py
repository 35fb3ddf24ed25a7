"""Streamed in pieces, observers know what they would know of everything at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.quantization.observers import BINS, Channels, Magnitudes, Observer, Rows
from tests.engine.quantization.heavy import heavy_weight, outlying_inputs


def pieces(x: Tensor, seed: int) -> list[Tensor]:
    """x in parts of 0 to 40 rows."""
    random = torch.Generator().manual_seed(seed)
    parts, rest = [], x
    while len(rest):
        count = int(torch.randint(0, 41, (), generator=random))
        parts.append(rest[:count])
        rest = rest[count:]
    return parts


@given(st.integers(1, 200), st.integers(1, 9), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_channels(rows: int, width: int, seed: int) -> None:
    x = heavy_weight(rows, width, seed)
    seen = Channels(width)
    for part in pieces(x, seed):
        seen.see(part)
    assert seen.rows == rows
    assert torch.equal(seen.absmax, x.abs().amax(0))
    torch.testing.assert_close(seen.mean_square, x.square().mean(0))


@given(st.integers(1, 300), st.floats(1e-6, 1e6), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_magnitudes_of_pieces(rows: int, level: float, seed: int) -> None:
    x = heavy_weight(rows, 7, seed) * level
    seen = Magnitudes()
    for part in pieces(x, seed):
        seen.see(part)
    assert seen.scale("min-max") == float(x.abs().max()) / 127
    exact = torch.quantile(x.abs().flatten().double(), 0.9999, interpolation="higher")
    bin_width = 2 * float(x.abs().max()) / BINS  # the range may have doubled just beyond the greatest
    assert abs(seen.scale("percentile") * 127 - float(exact)) <= bin_width * 1.01


def rounding_error(x: Tensor, scale: float) -> float:
    return float(((x / scale).round().clamp(-127, 127) * scale - x).square().sum())


@pytest.mark.parametrize(
    "x",
    [
        heavy_weight(64, 256),
        outlying_inputs(64, 256),
        torch.randn(64, 256, generator=torch.Generator().manual_seed(3)),
        torch.rand(64, 256, generator=torch.Generator().manual_seed(4)),
    ],
    ids=["heavy", "outlying", "normal", "even"],
)
def test_least_squares_finds_the_best_clip(x: Tensor) -> None:
    seen = Magnitudes()
    seen.see(x)
    found = rounding_error(x, seen.scale("mse"))
    best = min(rounding_error(x, seen.absmax / 127 * share) for share in torch.linspace(0.02, 1, 300).tolist())
    assert found <= best * 1.05
    assert found <= rounding_error(x, seen.scale("min-max")) * 1.001


def test_one_value_far_out_does_not_stretch_least_squares() -> None:
    x = torch.randn(400, 256, generator=torch.Generator().manual_seed(5))
    x[7, 7] = 60.0
    seen = Magnitudes()
    seen.see(x)
    assert rounding_error(x, seen.scale("mse")) < 0.9 * rounding_error(x, seen.scale("min-max"))


@pytest.mark.parametrize("observer", ["min-max", "percentile", "mse"])
def test_zeros_and_nothing(observer: Observer) -> None:
    seen = Magnitudes()
    assert seen.scale(observer) == 1.0
    seen.see(torch.zeros(10))
    seen.see(torch.zeros(0))
    assert seen.scale(observer) == 1.0
    seen.see(torch.tensor([3.0]))
    assert 0 < seen.scale(observer) <= 3.0 / 127


def test_rows_are_those_with_the_greatest_keys_however_they_come() -> None:
    x = heavy_weight(500, 6)
    keys = torch.rand(500, generator=torch.Generator().manual_seed(6))
    wanted = {tuple(row) for row in x[keys.topk(32).indices].tolist()}
    for size in (1, 7, 32, 33, 500):
        rows = Rows(32)
        for part, part_keys in zip(x.split(size), keys.split(size), strict=True):
            rows.see(part, part_keys)
        found = rows.tensor()
        assert found is not None
        assert {tuple(row) for row in found.tolist()} == wanted, size
    few = Rows(32)
    assert few.tensor() is None
    few.see(x[:3], keys[:3])
    held = few.tensor()
    assert held is not None
    assert held.shape == (3, 6)
