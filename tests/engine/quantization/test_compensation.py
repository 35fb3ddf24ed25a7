"""Compensation lowers the error of products whose inputs are correlated, on inputs that it did not see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.quantization.compensation import compensated_groups, describe_inputs
from engine.quantization.groups import INT4, INT8, Grid, round_groups
from tests.engine.quantization.heavy import correlated, grid_weight, heavy_weight


def described(x: Tensor, directions: int = 32) -> Tensor:
    return describe_inputs(x, x.square().mean(0), directions)


def error(x: Tensor, weight: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> float:
    numbers, scales, zeros = parts
    grouped = numbers.float().unflatten(1, (scales.shape[1], -1))
    found = ((grouped - zeros[..., None]) * scales[..., None]).flatten(1)
    return float((x @ (found - weight).T).square().sum())


@pytest.mark.parametrize("grid", [INT4, INT8], ids=["int4", "int8"])
@pytest.mark.parametrize("group", [32, 64])
def test_correlated_inputs(grid: Grid, group: int) -> None:
    weight, fresh = heavy_weight(64, 256), correlated(200, 256, seed=2)
    inputs = described(correlated(400, 256, seed=1))
    compensated = error(fresh, weight, compensated_groups(weight, group, grid, inputs))
    for rounding in ("nearest", "fitted"):
        assert compensated < 0.3 * error(fresh, weight, round_groups(weight, group, grid, rounding, inputs[0]))


def test_with_independent_inputs_it_is_fitting() -> None:
    weight = heavy_weight(64, 256)
    inputs = torch.cat([torch.rand(1, 256) + 0.5, torch.zeros(1, 256)]).half()
    for ours, theirs in zip(
        compensated_groups(weight, 32, INT4, inputs),
        round_groups(weight, 32, INT4, "fitted", inputs[0]),
        strict=True,
    ):
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=1e-2, atol=1e-2)


def test_weights_that_are_on_the_grid_already_stay() -> None:
    weight = grid_weight(32, 4)
    numbers, scales, zeros = compensated_groups(weight, 32, INT4, described(correlated(400, 128, seed=1)))
    found = ((numbers.float().unflatten(1, (4, 32)) - zeros[..., None]) * scales[..., None]).flatten(1)
    torch.testing.assert_close(found, weight, rtol=1e-4, atol=1e-5)


def test_directions_are_the_second_moments() -> None:
    x = correlated(300, 64, seed=3) * 1e-3
    inputs = described(x, directions=64).float()
    moments = x.T @ x / len(x) / x.square().mean()
    torch.testing.assert_close(inputs[0], moments.diagonal(), rtol=2e-3, atol=1e-4)
    torch.testing.assert_close(inputs[1:].T @ inputs[1:], moments, rtol=1e-2, atol=1e-2)
    assert described(x[:5]).shape == (6, 64)


def test_dead_inputs_and_the_same_bits_again() -> None:
    x = correlated(300, 64, seed=4)
    x[:, 10:40] = 0.0
    weight = heavy_weight(16, 64)
    first, again = (compensated_groups(weight, 32, INT4, described(x)) for _ in range(2))
    for ours, theirs in zip(first, again, strict=True):
        assert torch.equal(ours, theirs)
        assert bool(ours.float().isfinite().all())
