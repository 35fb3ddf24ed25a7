"""An encoder-decoder's tensors in one naming, assembled by its family from the checkpoint's, one layer at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from engine.models.cross_architecture import CrossArchitecture
from engine.models.encoder_weights import EncoderWeights
from engine.models.weights import Affine, NormWeights, check_norm, check_shape


@dataclass(frozen=True, slots=True)
class CrossLayerWeights:
    """One layer of a decoder that also attends to a source.

    `qkv` stacks queries, keys and values of its own past, `source_kv` keys and values of the source; `up` as in
    `LayerWeights`. Each norm stands before its part, or after it with `norm_first` off.
    """

    attention_norm: NormWeights
    qkv: Affine
    out: Affine
    source_norm: NormWeights
    source_q: Affine
    source_kv: Affine
    source_out: Affine
    mlp_norm: NormWeights
    up: Affine
    down: Affine


class CrossDecoderWeights(Protocol):
    """Reads what is asked for and keeps nothing, so that memory holds about one layer beside the model."""

    def embedding(self) -> Tensor:
        """(vocabulary, hidden)"""

    def positions(self, length: int) -> Tensor | None:
        """(length, hidden) fp32, for learned or sinusoidal positions."""

    def relative_bias(self, length: int) -> Tensor | None:
        """(heads, length) fp32, for relative positions: column d is added to the score of the key d places back."""

    def embedding_norm(self) -> NormWeights | None:
        """Of the summed embeddings, before the first layer."""

    def layer(self, index: int) -> CrossLayerWeights: ...

    def final_norm(self) -> NormWeights | None: ...

    @property
    def tied(self) -> bool:
        """Whether the output head is the embedding."""

    def head(self) -> Tensor:
        """(vocabulary, hidden), for a head that is not tied to the embedding."""

    def head_bias(self) -> Tensor | None:
        """(vocabulary,) fp32"""


class Seq2SeqWeights(Protocol):
    """Both halves. With `shared`, the encoder's embedding is the decoder's."""

    @property
    def encoder(self) -> EncoderWeights: ...

    @property
    def decoder(self) -> CrossDecoderWeights: ...

    @property
    def shared(self) -> bool: ...


def check_cross_layer(arch: CrossArchitecture, index: int, layer: CrossLayerWeights) -> None:
    """Raises CheckpointError where a tensor's shape is not the architecture's: kernels trust shapes."""
    hidden, inside = arch.hidden_size, arch.heads * arch.head_width
    inner = layer.down.weight.shape[-1]
    expected = {
        "attention queries, keys and values": (layer.qkv, 3 * inside, hidden),
        "attention output": (layer.out, hidden, inside),
        "source attention queries": (layer.source_q, inside, hidden),
        "source attention keys and values": (layer.source_kv, 2 * inside, hidden),
        "source attention output": (layer.source_out, hidden, inside),
        "MLP input": (layer.up, inner * (2 if arch.gated else 1), hidden),
        "MLP output": (layer.down, hidden, inner),
    }
    for what, (affine, outputs, inputs) in expected.items():
        check_shape(f"decoder layer {index}, {what}", affine.weight, (outputs, inputs))
        if affine.bias is not None:
            check_shape(f"decoder layer {index}, bias of {what}", affine.bias, (outputs,))
    for what, norm in {
        "attention norm": layer.attention_norm,
        "source attention norm": layer.source_norm,
        "MLP norm": layer.mlp_norm,
    }.items():
        check_norm(f"decoder layer {index}, {what}", norm, hidden)
