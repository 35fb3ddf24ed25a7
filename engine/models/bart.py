"""BART and mBART, and the names of tensors that Marian and M2M100 have in common with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.kernels import Heads
from engine.models.architecture import activation, optional, positive, reads_config
from engine.models.cross_architecture import CrossArchitecture, Seq2SeqArchitecture
from engine.models.cross_weights import CrossLayerWeights
from engine.models.encoder_architecture import EncoderArchitecture
from engine.models.named import Named
from engine.models.tied import Tables
from engine.models.weights import LayerWeights, NormWeights

LEARNED_OFFSET = 2  # rows of the learned positions' table that nothing uses

Sinusoids = Callable[[int], Tensor]  # rows -> (rows, hidden) fp32, from the table's first row on


@reads_config
def bart(config: Mapping[str, Any]) -> Seq2SeqArchitecture:
    """Reads config.json. Raises CheckpointError for what it lacks or what is not supported."""
    return read(config, norm_first=False, position_offset=LEARNED_OFFSET)


@reads_config
def mbart(config: Mapping[str, Any]) -> Seq2SeqArchitecture:
    """As `bart`."""
    return read(config, norm_first=True, position_offset=LEARNED_OFFSET)


def read(
    config: Mapping[str, Any], norm_first: bool, position_offset: int = 0, padding_token: int | None = None
) -> Seq2SeqArchitecture:
    """What all these families' config.json have in common; positions as in `EncoderArchitecture`."""
    hidden, vocabulary = positive(config, "d_model"), positive(config, "vocab_size")
    scale = math.sqrt(hidden) if config.get("scale_embedding") else 1.0
    common: dict[str, Any] = {
        "hidden_size": hidden,
        "max_positions": positive(config, "max_position_embeddings"),
        "norm": "layer",
        "norm_eps": 1e-5,
        "activation": activation(config.get("activation_function", "gelu")),
        "gated": False,
        "norm_first": norm_first,
        "embedding_scale": scale,
    }
    sides = {}
    for side in ("encoder", "decoder"):
        heads = positive(config, f"{side}_attention_heads")
        if hidden % heads:
            raise CheckpointError(f"config.json: d_model {hidden} is no multiple of {heads} {side} heads")
        sides[side] = heads
    return Seq2SeqArchitecture(
        encoder=EncoderArchitecture(
            vocab_size=vocabulary,
            num_layers=positive(config, "encoder_layers"),
            heads=Heads(sides["encoder"], sides["encoder"], hidden // sides["encoder"]),
            attention_scale=(hidden // sides["encoder"]) ** -0.5,
            positions="learned",
            position_offset=position_offset,
            padding_token=padding_token,
            **common,
        ),
        decoder=CrossArchitecture(
            vocab_size=vocabulary
            if config.get("share_encoder_decoder_embeddings", True)
            else optional(config, "decoder_vocab_size") or vocabulary,
            num_layers=positive(config, "decoder_layers"),
            heads=sides["decoder"],
            head_width=hidden // sides["decoder"],
            attention_scale=(hidden // sides["decoder"]) ** -0.5,
            **common,
        ),
    )


def learned(checkpoint: Checkpoint, arch: Seq2SeqArchitecture, dtype: torch.dtype) -> Weights:
    """The weights of a family with learned positions."""
    return Weights(checkpoint, arch, dtype, None)


class Weights:
    """A checkpoint under Hugging Face's names of these families; positions by `sinusoids`, learned without."""

    def __init__(
        self, checkpoint: Checkpoint, arch: Seq2SeqArchitecture, dtype: torch.dtype, sinusoids: Sinusoids | None
    ) -> None:
        self.named = Named(checkpoint, dtype, "model.")
        tables = Tables(self.named)
        offset = arch.encoder.position_offset
        self.shared = tables.shared
        self.encoder = EncoderHalf(Half(self.named, "encoder", offset, sinusoids), tables)
        self.decoder = DecoderHalf(Half(self.named, "decoder", offset, sinusoids), tables)


@dataclass(frozen=True)
class Half:
    """What encoder and decoder have alike. `offset` rows of the positions' table come before the first position."""

    named: Named
    side: str
    offset: int
    sinusoids: Sinusoids | None

    def at(self, index: int) -> str:
        return f"{self.side}.layers.{index}"

    def positions(self, length: int) -> Tensor:
        """(offset + length, hidden)"""
        rows = self.offset + length
        if self.sinusoids is not None:
            return self.sinusoids(rows)
        return self.named.tensor(f"{self.side}.embed_positions.weight", torch.float32)[:rows]

    def norm(self, name: str) -> NormWeights | None:
        module = f"{self.side}.{name}"
        return self.named.norm(module) if self.named.has(f"{module}.weight") else None


@dataclass(frozen=True)
class EncoderHalf:
    half: Half
    tables: Tables

    def embedding(self) -> Tensor:
        return self.tables.encoder()

    def types(self) -> None:
        return None

    def positions(self, length: int) -> Tensor:
        return self.half.positions(length)

    def relative_bias(self, length: int) -> None:
        return None

    def embedding_norm(self) -> NormWeights | None:
        return self.half.norm("layernorm_embedding")

    def layer(self, index: int) -> LayerWeights:
        named, at = self.half.named, self.half.at(index)
        return LayerWeights(
            attention_norm=named.norm(f"{at}.self_attn_layer_norm"),
            qkv=named.affine(*(f"{at}.self_attn.{part}_proj" for part in "qkv")),
            out=named.affine(f"{at}.self_attn.out_proj"),
            mlp_norm=named.norm(f"{at}.final_layer_norm"),
            up=named.affine(f"{at}.fc1"),
            down=named.affine(f"{at}.fc2"),
        )

    def final_norm(self) -> NormWeights | None:
        return self.half.norm("layer_norm")


@dataclass(frozen=True)
class DecoderHalf:
    half: Half
    tables: Tables

    def embedding(self) -> Tensor:
        return self.tables.decoder()

    def positions(self, length: int) -> Tensor:
        return self.half.positions(length)[self.half.offset :]

    def relative_bias(self, length: int) -> None:
        return None

    def embedding_norm(self) -> NormWeights | None:
        return self.half.norm("layernorm_embedding")

    def layer(self, index: int) -> CrossLayerWeights:
        named, at = self.half.named, self.half.at(index)
        return CrossLayerWeights(
            attention_norm=named.norm(f"{at}.self_attn_layer_norm"),
            qkv=named.affine(*(f"{at}.self_attn.{part}_proj" for part in "qkv")),
            out=named.affine(f"{at}.self_attn.out_proj"),
            source_norm=named.norm(f"{at}.encoder_attn_layer_norm"),
            source_q=named.affine(f"{at}.encoder_attn.q_proj"),
            source_kv=named.affine(f"{at}.encoder_attn.k_proj", f"{at}.encoder_attn.v_proj"),
            source_out=named.affine(f"{at}.encoder_attn.out_proj"),
            mlp_norm=named.norm(f"{at}.final_layer_norm"),
            up=named.affine(f"{at}.fc1"),
            down=named.affine(f"{at}.fc2"),
        )

    def final_norm(self) -> NormWeights | None:
        return self.half.norm("layer_norm")

    @property
    def tied(self) -> bool:
        return self.tables.tied

    def head(self) -> Tensor:
        return self.tables.head()

    def head_bias(self) -> Tensor | None:
        bias = self.half.named.optional("final_logits_bias")
        return None if bias is None or not bias.any() else bias.flatten()
