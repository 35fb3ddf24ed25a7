"""A decoder's tensors in one naming, assembled by its family from the checkpoint's, one layer at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.kernels import Heads
from engine.quantization.weight import Weight


@dataclass(frozen=True, slots=True)
class Affine:
    """weight (N, K) and bias (N,) of a projection."""

    weight: Weight
    bias: Tensor | None = None


def stacked(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Affine:
    """Projections (N_i, K) as one, whose outputs follow each other. Where only some have a bias, the others' is 0."""
    weight = weights[0] if len(weights) == 1 else _joined(weights)
    if all(bias is None for bias in biases):
        return Affine(weight)
    filled = [torch.zeros(len(w)) if b is None else b for w, b in zip(weights, biases, strict=True)]
    return Affine(weight, torch.cat(filled))


def _joined(weights: Sequence[Tensor]) -> Tensor:
    if weights[0].is_meta:
        # torch.cat of tensors without values imports torch's compiler first, which takes a second.
        return weights[0].new_empty((sum(map(len, weights)), *weights[0].shape[1:]))
    return torch.cat(list(weights))


@dataclass(frozen=True, slots=True)
class NormWeights:
    """weight and bias (K,) fp32 of a norm."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer. `qkv` stacks queries, keys and values; `up` the gate and the up-projection where the MLP is gated.

    The norms stand before attention and MLP, or after them with `norm_first` off. Some layers lack the first.
    """

    attention_norm: NormWeights | None
    qkv: Affine
    out: Affine
    mlp_norm: NormWeights
    up: Affine
    down: Affine
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None


class DecoderWeights(Protocol):
    """Reads what is asked for and keeps nothing, so that memory holds about one layer beside the model."""

    def embedding(self) -> Tensor:
        """(vocabulary, hidden)"""

    def positions(self, length: int) -> Tensor | None:
        """(length, hidden) fp32, for learned or sinusoidal positions."""

    def rope_factors(self) -> Tensor | None:
        """(rotary / 2,) divisors of the rotary frequencies, where the checkpoint has them."""

    def layer(self, index: int) -> LayerWeights: ...

    def final_norm(self) -> NormWeights | None: ...

    def head(self) -> Affine:
        """(vocabulary, hidden), for a head that is not tied to the embedding."""


class Stack(Protocol):
    """The sizes that a layer's tensors must have; see `Architecture`."""

    @property
    def hidden_size(self) -> int: ...

    @property
    def heads(self) -> Heads: ...

    @property
    def gated(self) -> bool: ...


def check_layer(arch: Stack, index: int, layer: LayerWeights) -> None:
    """Raises CheckpointError where a tensor's shape is not the architecture's: kernels trust shapes."""
    hidden, heads = arch.hidden_size, arch.heads
    stacked = (heads.query + 2 * heads.kv) * heads.width
    inner = layer.down.weight.shape[-1]
    expected = {
        "attention queries, keys and values": (layer.qkv, stacked, hidden),
        "attention output": (layer.out, hidden, heads.query * heads.width),
        "MLP input": (layer.up, inner * (2 if arch.gated else 1), hidden),
        "MLP output": (layer.down, hidden, inner),
    }
    for what, (affine, outputs, inputs) in expected.items():
        check_shape(f"layer {index}, {what}", affine.weight, (outputs, inputs))
        if affine.bias is not None:
            check_shape(f"layer {index}, bias of {what}", affine.bias, (outputs,))
    for what, norm in {"attention norm": layer.attention_norm, "MLP norm": layer.mlp_norm}.items():
        if norm is not None:
            check_norm(f"layer {index}, {what}", norm, hidden)
    for what, weight in {"query norm": layer.q_norm, "key norm": layer.k_norm}.items():
        if weight is not None:
            check_shape(f"layer {index}, {what}", weight, (heads.width,))


def check_norm(what: str, norm: NormWeights, width: int) -> None:
    """Raises CheckpointError where the norm is not `width` wide."""
    for part in (norm.weight, norm.bias):
        if part is not None:
            check_shape(what, part, (width,))


def check_shape(what: str, tensor: Weight, shape: tuple[int, ...]) -> None:
    """Raises CheckpointError unless `tensor` has `shape`."""
    if tuple(tensor.shape) != shape:
        raise CheckpointError(f"{what}: shape {tuple(tensor.shape)} where config.json means {shape}")
