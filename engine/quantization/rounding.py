"""From a weight to the numbers of a scheme."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.quantization.compensation import compensated_groups
from engine.quantization.groups import INT4, INT8, TINY, Rounding, round_groups
from engine.quantization.weight import QuantizedWeight, Scheme

SMALLEST_GROUP = 8  # inputs; scales and zeros of smaller ones would be as large as the numbers
FP8_LARGEST = 448.0


def round_weight(
    weight: Tensor,
    scheme: Scheme,
    *,
    group: int,
    rounding: Rounding,
    multiplier: Tensor | None = None,
    inputs: Tensor | None = None,
) -> QuantizedWeight | None:
    """The weight (N, K) of a product in a scheme; `group` for schemes with groups.

    `multiplier` (K,), for schemes that round the activations: what they are multiplied by before. `inputs` (1 + D, K)
    of `describe_inputs`, for schemes with groups: the first row weighs the errors of fitted groups, and with more rows
    int4-weight is compensated. None where no group fits the weight's width.
    """
    weight = weight.detach().float()
    width = weight.shape[1]
    if multiplier is not None:
        multiplier = multiplier.float()
        weight = weight / multiplier
    if scheme == "fp8":
        return QuantizedWeight(scheme, *_fp8(weight), multiplier=multiplier)
    grouped = scheme in ("int8-weight", "int4-weight")
    found = fitting_group(group, width) if grouped else width
    if found is None:
        return None
    grid = INT4 if scheme == "int4-weight" else INT8
    if grid.zeros and inputs is not None and len(inputs) > 1 and rounding == "fitted":
        numbers, scales, zeros = compensated_groups(weight, found, grid, inputs)
    else:
        numbers, scales, zeros = round_groups(weight, found, grid, rounding, None if inputs is None else inputs[0])
    if not grouped:
        return QuantizedWeight(scheme, numbers.to(torch.int8), scales.flatten(), multiplier=multiplier)
    if not grid.zeros:
        return QuantizedWeight(scheme, numbers.to(torch.int8), scales)
    halves = numbers.to(torch.uint8)
    return QuantizedWeight(scheme, halves[:, ::2] | halves[:, 1::2] << 4, scales, zeros)


def fitting_group(group: int, width: int) -> int | None:
    """`group`, or the largest of its halves, quarters... that divides the width of a weight."""
    while group >= SMALLEST_GROUP and width % group:
        group //= 2
    return group if group >= SMALLEST_GROUP else None


def _fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """e4m3 numbers (N, K) and scales (N,); the format has its own steps, so that the span is all there is to choose."""
    scales = weight.abs().amax(1) / FP8_LARGEST
    scales = torch.where(scales < TINY, 1.0, scales)
    numbers = (weight / scales[:, None]).clamp(-FP8_LARGEST, FP8_LARGEST)
    return numbers.to(torch.float8_e4m3fn), scales
