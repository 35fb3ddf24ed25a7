"""BERT and RoBERTa (MiniLM, XLM-R and CamemBERT are of their kind): learned positions, norms after each part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.kernels import Heads
from engine.models.architecture import activation, optional, positive, reads_config
from engine.models.encoder_architecture import EncoderArchitecture
from engine.models.named import Named
from engine.models.weights import LayerWeights, NormWeights

_PARTS = ("query", "key", "value")


@reads_config
def bert(config: Mapping[str, Any]) -> EncoderArchitecture:
    """Reads config.json. Raises CheckpointError for what it lacks or what is not supported."""
    return _architecture(config, None)


@reads_config
def roberta(config: Mapping[str, Any]) -> EncoderArchitecture:
    """As `bert`; positions begin behind the one that padding has."""
    padding = config.get("pad_token_id", 1)
    if not isinstance(padding, int) or padding < 0:
        raise CheckpointError(f"config.json: pad_token_id must be a token id, not {padding!r}")
    return _architecture(config, padding)


def _architecture(config: Mapping[str, Any], padding: int | None) -> EncoderArchitecture:
    if config.get("is_decoder"):
        raise CheckpointError("config.json: is_decoder is set; only encoders of this family are supported")
    kind = config.get("position_embedding_type") or "absolute"
    if kind != "absolute":
        raise CheckpointError(f"config.json: position_embedding_type {kind!r} is not supported; absolute is")
    hidden, heads = positive(config, "hidden_size"), positive(config, "num_attention_heads")
    if hidden % heads:
        raise CheckpointError(f"config.json: hidden size {hidden} is no multiple of {heads} heads")
    offset = 0 if padding is None else padding + 1
    return EncoderArchitecture(
        vocab_size=positive(config, "vocab_size"),
        hidden_size=hidden,
        num_layers=positive(config, "num_hidden_layers"),
        heads=Heads(heads, heads, hidden // heads),
        max_positions=positive(config, "max_position_embeddings") - offset,
        norm="layer",
        norm_eps=float(config.get("layer_norm_eps", 1e-12)),
        activation=activation(config.get("hidden_act", "gelu")),
        gated=False,
        norm_first=False,
        attention_scale=(hidden // heads) ** -0.5,
        positions="learned",
        position_offset=offset,
        padding_token=padding,
        token_types=optional(config, "type_vocab_size") or 2,
    )


class Weights:
    """A checkpoint under Hugging Face's names of the family."""

    def __init__(self, checkpoint: Checkpoint, arch: EncoderArchitecture, dtype: torch.dtype) -> None:
        self.arch = arch
        self.named = Named(checkpoint, dtype, "bert." if arch.padding_token is None else "roberta.")

    def embedding(self) -> Tensor:
        return self.named.tensor("embeddings.word_embeddings.weight")

    def types(self) -> Tensor:
        return self.named.tensor("embeddings.token_type_embeddings.weight", torch.float32)

    def positions(self, length: int) -> Tensor:
        table = self.named.tensor("embeddings.position_embeddings.weight", torch.float32)
        return table[: self.arch.position_offset + length]

    def relative_bias(self, length: int) -> Tensor | None:
        return None

    def embedding_norm(self) -> NormWeights:
        return self.named.norm("embeddings.LayerNorm")

    def layer(self, index: int) -> LayerWeights:
        at = f"encoder.layer.{index}"
        return LayerWeights(
            attention_norm=self.named.norm(f"{at}.attention.output.LayerNorm"),
            qkv=self.named.affine(*(f"{at}.attention.self.{part}" for part in _PARTS)),
            out=self.named.affine(f"{at}.attention.output.dense"),
            mlp_norm=self.named.norm(f"{at}.output.LayerNorm"),
            up=self.named.affine(f"{at}.intermediate.dense"),
            down=self.named.affine(f"{at}.output.dense"),
        )

    def final_norm(self) -> NormWeights | None:
        return None
