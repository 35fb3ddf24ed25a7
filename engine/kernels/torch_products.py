"""Products with plain weights, and what is left to do after any product, on torch alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from engine.kernels.base import Activation, Linear


def activate(x: Tensor, kind: Activation) -> Tensor:
    """Applies the named activation; "gelu" is the exact one."""
    match kind:
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "relu":
            return F.relu(x)
        case "silu":
            return F.silu(x)
    return x


@dataclass(frozen=True, slots=True)
class TorchLinear:
    weight: Tensor  # (N, K)
    bias: Tensor | None

    def __call__(self, x: Tensor, activation: Activation = "none") -> Tensor:
        return activate(F.linear(x, self.weight, self.bias), activation)

    def add_to(self, hidden: Tensor, x: Tensor) -> None:
        hidden += self(x)

    def logits(self, x: Tensor) -> Tensor:
        return self(x).float()


@dataclass(frozen=True, slots=True)
class TorchGate:
    weight: Tensor  # (2 N, K)
    activation: Activation

    def __call__(self, x: Tensor) -> Tensor:
        gate, up = F.linear(x, self.weight).chunk(2, dim=-1)
        return activate(gate, self.activation) * up


@dataclass(frozen=True, slots=True)
class TorchEmbedding:
    weight: Tensor  # (vocabulary, hidden)
    scale: float

    def __call__(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight).float() * self.scale


@dataclass(frozen=True, slots=True)
class SplitGate:
    """Of two products, where there is none that is both."""

    gate: Linear
    up: Linear
    activation: Activation

    def __call__(self, x: Tensor) -> Tensor:
        return self.gate(x, self.activation) * self.up(x)
