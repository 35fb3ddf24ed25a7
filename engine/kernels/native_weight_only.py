"""Products in C++ with weights of int8 and int4 whose x stays as it is: `csrc/linear_weight_only.cpp`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.kernels.base import Activation, Embedding, Gate, Linear
from engine.kernels.operators import ACTIVATIONS, load, op
from engine.quantization.weight import QuantizedWeight


def in_pairs(dtype: torch.dtype) -> bool:
    """Whether x of this dtype is multiplied by dot products of pairs here."""
    return dtype == torch.bfloat16 and load() and bool(torch.ops.stageline.few_bits_has_dot())


@dataclass(frozen=True, slots=True)
class FewBits:
    """A packed weight, see csrc/weight_only.h. With `pairs`, x is bf16 and multiplied by dot products."""

    packed: Tensor
    bits: int
    pairs: bool


def pack(weight: QuantizedWeight, pairs: bool, paired: bool = False) -> FewBits:
    """`paired` puts the rows of a gate beside those of its up-projection."""
    parts = (None if part is None else part.contiguous() for part in (weight.values, weight.scales, weight.zeros))
    return FewBits(op("few_bits_pack", *parts, paired), 4 if weight.scheme == "int4-weight" else 8, pairs)


@dataclass(frozen=True, slots=True)
class FewBitsLinear:
    weight: FewBits
    bias: Tensor | None  # (N,) fp32
    outputs: int

    def __call__(self, x: Tensor, activation: Activation = "none") -> Tensor:
        kind = ACTIVATIONS[activation]
        w = self.weight
        return op("few_bits_linear", x, w.packed, w.bits, w.pairs, self.bias, self.outputs, kind)

    def add_to(self, hidden: Tensor, x: Tensor) -> None:
        op("few_bits_add", x, self.weight.packed, self.weight.bits, self.weight.pairs, self.bias, hidden)

    def logits(self, x: Tensor) -> Tensor:
        w = self.weight
        return op("few_bits_fp32", x, w.packed, w.bits, w.pairs, self.bias, self.outputs)


@dataclass(frozen=True, slots=True)
class FewBitsGate:
    weight: FewBits  # gate and up side by side
    activation: Activation

    def __call__(self, x: Tensor) -> Tensor:
        w = self.weight
        return op("few_bits_gate", x, w.packed, w.bits, w.pairs, ACTIVATIONS[self.activation])


@dataclass(frozen=True, slots=True)
class FewBitsEmbedding:
    weight: FewBits
    width: int
    scale: float

    def __call__(self, ids: Tensor) -> Tensor:
        return op("few_bits_embedding", ids, self.weight.packed, self.weight.bits, self.width, self.scale)


def linear(weight: QuantizedWeight, bias: Tensor | None, pairs: bool) -> FewBitsLinear:
    return FewBitsLinear(pack(weight, pairs), bias, len(weight))


def gate(weight: QuantizedWeight, activation: Activation, pairs: bool) -> Gate:
    """`weight` has a multiple of 32 rows."""
    return FewBitsGate(pack(weight, pairs, paired=True), activation)


def tied_embedding(weight: QuantizedWeight, scale: float, bias: Tensor | None, pairs: bool) -> tuple[Embedding, Linear]:
    head = linear(weight, bias, pairs)
    return FewBitsEmbedding(head.weight, weight.shape[1], scale), head
