"""Products of `int8-dynamic` and `int8-static` weights in C++: rows of x become int8, sums are exact.

A row's result is the same bit for bit whatever else is in the batch, and the sums whatever the processor.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from engine.kernels.base import Activation, Embedding, Gate, Linear
from engine.kernels.operators import ACTIVATIONS, op
from engine.quantization.weight import QuantizedWeight


@dataclass(frozen=True, slots=True)
class Int8Linear:
    packed: Tensor  # see csrc/int8.h
    multiplier: Tensor | None  # (K,) fp32
    fixed: bool  # the multiplier holds the scale of all rows
    bias: Tensor | None  # (N,) fp32
    outputs: int

    def __call__(self, x: Tensor, activation: Activation = "none") -> Tensor:
        kind = ACTIVATIONS[activation]
        return op("int8_linear", x, self.packed, self.multiplier, self.fixed, self.bias, self.outputs, kind)

    def add_to(self, hidden: Tensor, x: Tensor) -> None:
        op("int8_add", x, self.packed, self.multiplier, self.fixed, self.bias, hidden)

    def logits(self, x: Tensor) -> Tensor:
        return op("int8_fp32", x, self.packed, self.multiplier, self.fixed, self.bias, self.outputs)


@dataclass(frozen=True, slots=True)
class Int8Gate:
    packed: Tensor  # gate and up side by side
    multiplier: Tensor | None
    fixed: bool
    activation: Activation

    def __call__(self, x: Tensor) -> Tensor:
        return op("int8_gate", x, self.packed, self.multiplier, self.fixed, ACTIVATIONS[self.activation])


@dataclass(frozen=True, slots=True)
class Int8Embedding:
    packed: Tensor
    multiplier: Tensor | None
    width: int
    scale: float

    def __call__(self, ids: Tensor) -> Tensor:
        return op("int8_embedding", ids, self.packed, self.multiplier, self.width, self.scale)


def linear(weight: QuantizedWeight, bias: Tensor | None) -> Linear:
    return _linear(weight, pack(weight), bias)


def gate(weight: QuantizedWeight, activation: Activation) -> Gate:
    """`weight` has a multiple of 32 rows."""
    return Int8Gate(pack(weight, paired=True), weight.multiplier, weight.scheme == "int8-static", activation)


def tied_embedding(weight: QuantizedWeight, scale: float, bias: Tensor | None) -> tuple[Embedding, Linear]:
    packed = pack(weight)
    return Int8Embedding(packed, weight.multiplier, weight.shape[1], scale), _linear(weight, packed, bias)


def pack(weight: QuantizedWeight, paired: bool = False) -> Tensor:
    return op("pack_int8", weight.values.contiguous(), weight.scales.contiguous(), paired)


def _linear(weight: QuantizedWeight, packed: Tensor, bias: Tensor | None) -> Int8Linear:
    return Int8Linear(packed, weight.multiplier, weight.scheme == "int8-static", bias, len(weight))
