"""Products with quantized weights on torch alone, on any device. Also what the native ones are tested against.

Scales of activations are one a row, or fixed: never one a batch, through which a row would change its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.kernels.base import Activation, Embedding, Gate, Linear
from engine.kernels.torch_products import TorchEmbedding, TorchGate, TorchLinear, activate
from engine.quantization.weight import QuantizedWeight

EXACT = 1024  # products of two int8 numbers that fp32 adds up without rounding: 1024 * 127 * 127 < 2^24
FP8_MAX = 448.0
LEAST = 1e-30  # rows below are zero: the inverse of their scale would be infinite


def divided_rows(x: Tensor, weight: QuantizedWeight, greatest: float) -> tuple[Tensor, Tensor]:
    """x (T, K) -> rows whose values lie within +- `greatest`, fp32 and not rounded, and their scales (T, 1)."""
    wide = x.float()
    if weight.multiplier is not None:
        wide = wide * weight.multiplier
    if weight.scheme == "int8-static":
        return wide.clamp(-greatest, greatest), torch.ones(len(x), 1, device=x.device)
    most = wide.abs().amax(dim=1, keepdim=True)
    inverse = torch.where(most < LEAST, 0.0, torch.full_like(most, greatest) / most)  # a number / tensor is not exact
    return (wide * inverse).clamp(-greatest, greatest), most / greatest


def exact_product(x: Tensor, values: Tensor) -> Tensor:
    """x (T, K), values (N, K), both int8 -> x values^T (T, N) in fp32, rounded once from the exact integer."""
    rows, (outputs, width) = len(x), values.shape
    if x.is_cuda and width % 8 == 0 and outputs % 8 == 0:
        room = x.new_zeros(max(rows, 32), width)  # the GPU's int8 product wants more than 16 rows
        room[:rows] = x
        return torch._int_mm(room, values.t())[:rows].float()
    parts = zip(x.split(EXACT, dim=1), values.split(EXACT, dim=1), strict=True)
    total = torch.zeros(rows, outputs, dtype=torch.int32, device=x.device)
    for a, b in parts:
        total += (a.float() @ b.float().t()).int()
    return total.float()


def has_fp8(device: torch.device) -> bool:
    """Whether the device multiplies fp8 with scales a row."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def fp8_product(x: Tensor, scale: Tensor, weight: QuantizedWeight) -> Tensor:
    """x (T, K) fp32 within +-448 -> (T, N) fp32, both scales applied. Off GPUs that have fp8 its rounding is
    emulated."""
    narrow = x.to(torch.float8_e4m3fn)
    if has_fp8(x.device) and all(size % 16 == 0 for size in weight.shape):
        scales = weight.scales[None]
        out = torch._scaled_mm(narrow, weight.values.t(), scale, scales, out_dtype=torch.bfloat16)
        return out.float()
    return (narrow.float() @ weight.values.float().t()) * scale * weight.scales


def product(x: Tensor, weight: QuantizedWeight) -> Tensor:
    """x (T, K) -> (T, N) fp32 for int8-dynamic, int8-static and fp8."""
    if weight.scheme == "fp8":
        return fp8_product(*divided_rows(x, weight, FP8_MAX), weight)
    rows, scale = divided_rows(x, weight, 127.0)
    return exact_product(rows.round().to(torch.int8), weight.values) * scale * weight.scales


@dataclass(frozen=True, slots=True)
class RowwiseLinear:
    """Rows of x are quantized too."""

    weight: QuantizedWeight
    bias: Tensor | None  # (N,) fp32

    def __call__(self, x: Tensor, activation: Activation = "none") -> Tensor:
        return activate(self.logits(x), activation).to(x.dtype)

    def add_to(self, hidden: Tensor, x: Tensor) -> None:
        hidden += self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        out = product(x, self.weight)
        return out if self.bias is None else out + self.bias


@dataclass(frozen=True, slots=True)
class RowwiseGate:
    weight: QuantizedWeight  # (2 N, K)
    activation: Activation

    def __call__(self, x: Tensor) -> Tensor:
        gate, up = product(x, self.weight).chunk(2, dim=-1)
        return (activate(gate, self.activation) * up).to(x.dtype)


@dataclass(frozen=True, slots=True)
class RowwiseEmbedding:
    weight: QuantizedWeight
    scale: float

    def __call__(self, ids: Tensor) -> Tensor:
        values = self.weight.values.view(torch.uint8)[ids].view(self.weight.values.dtype)
        rows = values.float() * self.weight.scales[ids, None]
        return (rows if self.weight.multiplier is None else rows * self.weight.multiplier) * self.scale


def weight_only(weight: QuantizedWeight) -> bool:
    return weight.scheme in ("int8-weight", "int4-weight")


def linear(weight: QuantizedWeight, bias: Tensor | None, dtype: torch.dtype) -> Linear:
    """bias (N,) fp32. A weight that x is not rounded for is held in x's `dtype`."""
    if weight_only(weight):
        return TorchLinear(weight.dequantized(dtype), None if bias is None else bias.to(dtype))
    return RowwiseLinear(weight, bias)


def gate(weight: QuantizedWeight, activation: Activation, dtype: torch.dtype) -> Gate:
    if weight_only(weight):
        return TorchGate(weight.dequantized(dtype), activation)
    return RowwiseGate(weight, activation)


def tied_embedding(
    weight: QuantizedWeight, scale: float, bias: Tensor | None, dtype: torch.dtype
) -> tuple[Embedding, Linear]:
    if weight_only(weight):
        held = weight.dequantized(dtype)
        return TorchEmbedding(held, scale), TorchLinear(held, None if bias is None else bias.to(dtype))
    return RowwiseEmbedding(weight, scale), RowwiseLinear(weight, bias)
