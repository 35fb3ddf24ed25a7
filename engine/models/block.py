"""What surrounds attention in every Transformer layer: norms, the output projection and the MLP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from engine.kernels import Activation, Gate, Kernels, Linear
from engine.models.weights import Affine, LayerWeights, NormWeights
from engine.quantization.weight import Weight


class Shape(Protocol):
    """The properties of an architecture that decide what its blocks look like."""

    @property
    def norm(self) -> Literal["rms", "layer"]: ...

    @property
    def norm_eps(self) -> float: ...

    @property
    def norm_first(self) -> bool: ...

    @property
    def activation(self) -> Activation: ...

    @property
    def gated(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Norm:
    """RMS or layer norm of the residual stream (T, C) fp32 into the kernels' dtype."""

    kernels: Kernels
    weight: Tensor
    bias: Tensor | None
    eps: float
    rms: bool

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.into(hidden, self.kernels.dtype)

    def into(self, hidden: Tensor, dtype: torch.dtype) -> Tensor:
        """The same in `dtype`, the kernels' or fp32."""
        if self.rms:
            return self.kernels.rms_norm(hidden, self.weight, self.eps, dtype)
        return self.kernels.layer_norm(hidden, self.weight, self.bias, self.eps, dtype)


@dataclass(frozen=True, slots=True)
class Cast:
    """In the place of a norm that a layer does not have."""

    kernels: Kernels

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.kernels.narrow(hidden)

    def into(self, hidden: Tensor, dtype: torch.dtype) -> Tensor:
        return hidden.to(dtype)


class Block:
    """Attention and MLP, each added to the residual stream; attention itself is the caller's."""

    def __init__(self, shape: Shape, kernels: Kernels, weights: LayerWeights) -> None:
        self.norm_first = shape.norm_first
        self.kernels = kernels
        self.attention_norm = make_norm(shape, kernels, weights.attention_norm)
        self.mlp_norm = make_norm(shape, kernels, weights.mlp_norm)
        self.out: Linear = kernels.linear(weights.out.weight, weights.out.bias)
        self.widen = make_widening(shape, kernels, weights.up)
        self.down: Linear = kernels.linear(weights.down.weight, weights.down.bias)

    def __call__(self, hidden: Tensor, attend: Callable[[Tensor], Tensor], rows: Tensor | None = None) -> Tensor:
        """hidden (T, C) fp32, overwritten -> (T, C). `attend`: (T, C) -> (T, H * D), before the output projection.

        With `rows`, indices (R,), only they are computed after attention: (R, C).
        """
        attended = attend(self.attention_norm(hidden) if self.norm_first else self.kernels.narrow(hidden))
        if rows is not None:
            hidden, attended = hidden.index_select(0, rows), attended.index_select(0, rows)
        self.out.add_to(hidden, attended)
        if self.norm_first:
            self.down.add_to(hidden, self.widen(self.mlp_norm(hidden)))
            return hidden
        hidden = self.attention_norm.into(hidden, torch.float32)
        self.down.add_to(hidden, self.widen(self.kernels.narrow(hidden)))
        return self.mlp_norm.into(hidden, torch.float32)


def make_widening(shape: Shape, kernels: Kernels, up: Affine) -> Callable[[Tensor], Tensor]:
    """The MLP up to its activation: (T, C) -> (T, intermediate)."""
    if shape.gated and up.bias is None:
        gate: Gate = kernels.gate(up.weight, shape.activation)
        return gate
    if not shape.gated:
        plain = kernels.linear(up.weight, up.bias)
        return lambda x: plain(x, shape.activation)
    assert up.bias is not None
    halves: tuple[Weight, ...] = up.weight.chunk(2)
    first, second = (kernels.linear(w, b) for w, b in zip(halves, up.bias.chunk(2), strict=True))
    return lambda x: first(x, shape.activation) * second(x)


def make_norm(shape: Shape, kernels: Kernels, weights: NormWeights | None) -> Norm | Cast:
    """A norm of the architecture's kind on the kernels' device; without weights none."""
    if weights is None:
        return Cast(kernels)
    bias = None if weights.bias is None else weights.bias.float().to(kernels.device)
    weight = weights.weight.float().to(kernels.device)
    return Norm(kernels, weight, bias, shape.norm_eps, shape.norm == "rms")
