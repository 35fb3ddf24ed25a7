"""What a product with a quantized weight gives, in plain fp32, and how far that is from the exact one."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.quantization.groups import TINY
from engine.quantization.rounding import FP8_LARGEST
from engine.quantization.weight import QuantizedWeight, Weight


def product(x: Tensor, weight: Weight) -> Tensor:
    """x (T, K) times the weight (N, K), its rounding of x included: (T, N) fp32."""
    x = x.float()
    if not isinstance(weight, QuantizedWeight):
        return x @ weight.float().T
    if weight.scheme in ("int8-weight", "int4-weight"):
        return x @ weight.dequantized().T
    if weight.multiplier is not None:
        x = x * weight.multiplier
    if weight.scheme == "int8-static":
        return (x.round().clamp(-127, 127) @ weight.values.float().T) * weight.scales
    largest = FP8_LARGEST if weight.scheme == "fp8" else 127.0
    scale = x.abs().amax(1, keepdim=True) / largest
    x = x / torch.where(scale < TINY, 1.0, scale)
    x = x.clamp(-largest, largest).to(torch.float8_e4m3fn).float() if weight.scheme == "fp8" else x.round()
    return (x @ weight.values.float().T) * scale * weight.scales


def relative_errors(exact: Tensor, found: Tensor) -> Tensor:
    """(T,), the squared error of each row of (T, N) to its squared norm.

    Each row counts by itself, for norms and softmaxes that follow see rows, and a few tokens are far longer than all
    others; rows that are shorter than the median count as that long.
    """
    energy = exact.square().sum(1)
    floor = energy.median().clamp(min=TINY)
    return (found - exact).square().sum(1) / energy.maximum(floor)
