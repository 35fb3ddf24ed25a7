"""What the layers of a checkpoint hold in memory, without reading them, and which of them are alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.models.weights import Affine, NormWeights
from engine.quantization.weight import Scheme


@dataclass(frozen=True, slots=True)
class Held:
    """`schemes` are those of the products, None for one that is not quantized: where they are alike, layers of one
    model are equally fast."""

    bytes: int
    schemes: tuple[Scheme | None, ...]


def held(checkpoint: Checkpoint, prefix: str, weights: Any) -> Held:
    """A layer's or head's weights (a dataclass; see `engine.models.transform` for prefixes), which may be without
    values. Biases and norms are fp32 in every precision."""
    total, schemes = 0, []
    for field in dataclasses.fields(weights):
        value = getattr(weights, field.name)
        if isinstance(value, Affine):
            scheme, size = checkpoint.held(f"{prefix}.{field.name}", value.weight)
            schemes.append(scheme)
            total += size + held_values(value.bias)
        elif isinstance(value, NormWeights | Tensor):
            total += held_values(value)
    return Held(total, tuple(schemes))


def held_values(*parts: NormWeights | Tensor | None) -> int:
    """Bytes of norms, biases and small tables, which are held as fp32."""
    total = 0
    for part in parts:
        tensors = (part.weight, part.bias) if isinstance(part, NormWeights) else (part,)
        total += sum(tensor.numel() * 4 for tensor in tensors if tensor is not None)
    return total
