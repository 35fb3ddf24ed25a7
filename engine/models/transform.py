"""The seam at which the weights of products are quantized, observed, or read in few bits from a prepared folder.

Their names do not depend on the family: `layers.3.qkv`, `out`, `up`, `down`, and `head`; in an encoder-decoder
`encoder.layers.3...`, `decoder.layers.3...` with `source_q`, `source_kv`, `source_out`, and `decoder.head`; of a
classifier `classifier.dense` and `classifier.scores`. A head that is tied to the embedding goes by its name as head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from engine.models.weights import Affine
from engine.quantization.weight import Weight

Transform = Callable[[str, Weight], Weight]
"""(name, weight (N, K)) to what the kernels are given."""

L = TypeVar("L")


def unchanged(name: str, weight: Weight) -> Weight:
    """The transform that does nothing."""
    return weight


def under(prefix: str, transform: Transform) -> Transform:
    """The transform for a part of a model whose names begin with `prefix`."""
    return lambda name, weight: transform(prefix + name, weight)


def transformed(weights: L, prefix: str, transform: Transform) -> L:
    """A layer's or head's weights (a dataclass) with each product's weight transformed."""
    assert dataclasses.is_dataclass(weights)
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(weights):
        value = getattr(weights, field.name)
        if isinstance(value, Affine):
            changed[field.name] = Affine(transform(f"{prefix}.{field.name}", value.weight), value.bias)
    return dataclasses.replace(weights, **changed)  # type: ignore[type-var]
