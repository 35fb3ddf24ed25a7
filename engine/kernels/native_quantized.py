"""Which native kernel computes the products of a quantized weight; torch's where there is none."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.kernels import native_int8, native_weight_only, torch_quantized
from engine.kernels.base import Activation, Embedding, Gate, Linear
from engine.kernels.torch_products import SplitGate
from engine.quantization.weight import QuantizedWeight


def linear(weight: QuantizedWeight, bias: Tensor | None, dtype: torch.dtype) -> Linear:
    """bias (N,) fp32; `dtype` is x's."""
    match weight.scheme:
        case "int8-dynamic" | "int8-static":
            return native_int8.linear(weight, bias)
        case "int8-weight" | "int4-weight":
            return native_weight_only.linear(weight, bias, native_weight_only.in_pairs(dtype))
        case _:
            return torch_quantized.linear(weight, bias, dtype)


def gate(weight: QuantizedWeight, activation: Activation, dtype: torch.dtype) -> Gate:
    if len(weight) % 32 == 0:
        match weight.scheme:
            case "int8-dynamic" | "int8-static":
                return native_int8.gate(weight, activation)
            case "int8-weight" | "int4-weight":
                return native_weight_only.gate(weight, activation, native_weight_only.in_pairs(dtype))
    first, second = (linear(part, None, dtype) for part in weight.chunk(2))
    return SplitGate(first, second, activation)


def tied_embedding(
    weight: QuantizedWeight, scale: float, bias: Tensor | None, dtype: torch.dtype
) -> tuple[Embedding, Linear]:
    match weight.scheme:
        case "int8-dynamic" | "int8-static":
            return native_int8.tied_embedding(weight, scale, bias)
        case "int8-weight" | "int4-weight":
            return native_weight_only.tied_embedding(weight, scale, bias, native_weight_only.in_pairs(dtype))
        case _:
            return torch_quantized.tied_embedding(weight, scale, bias, dtype)
