"""Rounding of groups in which later inputs make good what earlier ones lost.

After Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022: inputs
are rounded one after another, and what each is off by is taken off the weights of those still to come, as far as they
are correlated. Of the inputs' second moments a few principal directions and the diagonal are enough for most of the
gain, and small enough to be kept in a recipe.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.quantization.groups import Grid, round_groups

DIRECTIONS = 32
DAMPING = 0.1  # of each mean square, added to it: a sample's correlations are too sure of themselves
FLOOR = 0.01  # of the mean of all, added to each


def describe_inputs(sample: Tensor, mean_square: Tensor, directions: int = DIRECTIONS) -> Tensor:
    """(1 + directions, K) fp16: mean squares of the inputs (K,), then directions d with sum d d^T nearest to the second
    moments of the sample (T, K); in units in which the mean of the mean squares is 1."""
    unit = mean_square.mean().clamp(min=torch.finfo(torch.float32).tiny)
    rows = sample.double() / (len(sample) * unit) ** 0.5
    _, combinations = torch.linalg.eigh(rows @ rows.T)  # of rows, the largest last: fewer of them than inputs
    found = (combinations[:, -directions:].T.flip(0) @ rows).float()
    return torch.cat([(mean_square / unit)[None], found]).half()


def compensated_groups(weight: Tensor, group: int, grid: Grid, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `round_groups` for weight (N, K) fp32, given what `describe_inputs` says of its inputs.

    Scales and zeros are fitted to each group as it is when its turn comes. The same bits on processors on which torch
    adds in the same order.
    """
    width, rows = weight.shape[1], len(weight)
    factors = _factors(inputs.double())
    rest = weight.T.contiguous()  # (K, N), overwritten
    numbers = torch.empty(width, rows, dtype=torch.uint8 if grid.zeros else torch.int8)
    scales, zeros = (torch.empty(rows, width // group) for _ in range(2))
    lost = torch.empty(group, rows)
    for index, first in enumerate(range(0, width, group)):
        last = first + group
        part = rest[first:last]
        _, *fitted = round_groups(part.T.contiguous(), group, grid, "fitted", inputs[0, first:last])
        scale, zero = (fit[:, 0] for fit in fitted)
        scales[:, index], zeros[:, index] = scale, zero
        for i in range(group):
            number = (part[i] / scale).add_(zero).round_().clamp_(grid.lowest, grid.highest)
            numbers[first + i] = number
            ahead = factors[first + i, first + i : last]
            lost[i] = (part[i] - (number - zero) * scale) / ahead[0]
            part[i + 1 :].addr_(ahead[1:], lost[i], alpha=-1)
        rest[last:].addmm_(factors[first:last, last:].T, lost, alpha=-1)
    return numbers.T.contiguous(), scales, zeros


def _factors(inputs: Tensor) -> Tensor:
    """(K, K) fp32: the upper Cholesky factor of the inverse of the second moments that `inputs` describes."""
    squares, directions = inputs[0], inputs[1:]
    moments = directions.T @ directions
    rest = (squares - directions.square().sum(0)).clamp(min=0)
    moments.diagonal().add_(rest + DAMPING * squares + FLOOR * squares.mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments))
    factors: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factors.float()
