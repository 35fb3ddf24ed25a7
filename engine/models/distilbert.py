"""DistilBERT: BERT with fewer layers and without token types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.kernels import Heads
from engine.models.architecture import activation, positive, reads_config
from engine.models.encoder_architecture import EncoderArchitecture
from engine.models.named import Named
from engine.models.weights import LayerWeights, NormWeights


@reads_config
def architecture(config: Mapping[str, Any]) -> EncoderArchitecture:
    """Reads config.json. Raises CheckpointError for what it lacks or what does not fit."""
    hidden, heads = positive(config, "dim", "hidden_size"), positive(config, "n_heads", "num_attention_heads")
    if hidden % heads:
        raise CheckpointError(f"config.json: dim {hidden} is no multiple of {heads} heads")
    return EncoderArchitecture(
        vocab_size=positive(config, "vocab_size"),
        hidden_size=hidden,
        num_layers=positive(config, "n_layers", "num_hidden_layers"),
        heads=Heads(heads, heads, hidden // heads),
        max_positions=positive(config, "max_position_embeddings"),
        norm="layer",
        norm_eps=1e-12,
        activation=activation(config.get("activation", "gelu")),
        gated=False,
        norm_first=False,
        attention_scale=(hidden // heads) ** -0.5,
        positions="learned",
    )


class Weights:
    """A checkpoint under Hugging Face's names of the family."""

    def __init__(self, checkpoint: Checkpoint, arch: EncoderArchitecture, dtype: torch.dtype) -> None:
        self.named = Named(checkpoint, dtype, "distilbert.")

    def embedding(self) -> Tensor:
        return self.named.tensor("embeddings.word_embeddings.weight")

    def types(self) -> Tensor | None:
        return None

    def positions(self, length: int) -> Tensor:
        return self.named.tensor("embeddings.position_embeddings.weight", torch.float32)[:length]

    def relative_bias(self, length: int) -> Tensor | None:
        return None

    def embedding_norm(self) -> NormWeights:
        return self.named.norm("embeddings.LayerNorm")

    def layer(self, index: int) -> LayerWeights:
        at = f"transformer.layer.{index}"
        return LayerWeights(
            attention_norm=self.named.norm(f"{at}.sa_layer_norm"),
            qkv=self.named.affine(*(f"{at}.attention.{part}_lin" for part in "qkv")),
            out=self.named.affine(f"{at}.attention.out_lin"),
            mlp_norm=self.named.norm(f"{at}.output_layer_norm"),
            up=self.named.affine(f"{at}.ffn.lin1"),
            down=self.named.affine(f"{at}.ffn.lin2"),
        )

    def final_norm(self) -> NormWeights | None:
        return None
