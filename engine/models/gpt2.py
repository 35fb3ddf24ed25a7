"""GPT-2: learned positions, layer norms, weights stored as (inputs, outputs)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.kernels import Heads
from engine.models.architecture import Architecture, activation, positive, reads_config
from engine.models.weights import Affine, LayerWeights, NormWeights


@reads_config
def architecture(config: Mapping[str, Any]) -> Architecture:
    """Reads config.json. Raises CheckpointError for what it lacks or what is not supported."""
    if config.get("scale_attn_by_inverse_layer_idx") or config.get("scale_attn_weights", True) is False:
        raise CheckpointError("config.json: GPT-2 with other attention scales than 1/sqrt(head size) is not supported")
    hidden, heads = positive(config, "n_embd", "hidden_size"), positive(config, "n_head", "num_attention_heads")
    if hidden % heads:
        raise CheckpointError(f"config.json: hidden size {hidden} is no multiple of {heads} heads")
    return Architecture(
        vocab_size=positive(config, "vocab_size"),
        hidden_size=hidden,
        num_layers=positive(config, "n_layer", "num_hidden_layers"),
        heads=Heads(heads, heads, hidden // heads),
        max_positions=positive(config, "n_positions", "max_position_embeddings"),
        norm="layer",
        norm_eps=float(config.get("layer_norm_epsilon", 1e-5)),
        activation=activation(config.get("activation_function", "gelu_new")),
        gated=False,
        positions="learned",
        tied_head=bool(config.get("tie_word_embeddings", True)),
    )


class Weights:
    """A checkpoint under Hugging Face's names, with or without the "transformer." in front."""

    def __init__(self, checkpoint: Checkpoint, arch: Architecture, dtype: torch.dtype) -> None:
        self.checkpoint = checkpoint
        self.dtype = dtype
        self.prefix = "transformer." if "transformer.wte.weight" in checkpoint.names() else ""

    def embedding(self) -> Tensor:
        return self._tensor("wte.weight")

    def positions(self, length: int) -> Tensor:
        return self.checkpoint.tensor(f"{self.prefix}wpe.weight", torch.float32)[:length]

    def rope_factors(self) -> Tensor | None:
        return None

    def layer(self, index: int) -> LayerWeights:
        at = f"h.{index}"
        return LayerWeights(
            attention_norm=self._norm(f"{at}.ln_1"),
            qkv=self._affine(f"{at}.attn.c_attn"),
            out=self._affine(f"{at}.attn.c_proj"),
            mlp_norm=self._norm(f"{at}.ln_2"),
            up=self._affine(f"{at}.mlp.c_fc"),
            down=self._affine(f"{at}.mlp.c_proj"),
        )

    def final_norm(self) -> NormWeights:
        return self._norm("ln_f")

    def head(self) -> Affine:
        return Affine(self.checkpoint.tensor("lm_head.weight", self.dtype))

    def _tensor(self, name: str) -> Tensor:
        return self.checkpoint.tensor(self.prefix + name, self.dtype)

    def _affine(self, module: str) -> Affine:
        bias = self.checkpoint.tensor(f"{self.prefix}{module}.bias", torch.float32)
        return Affine(self._tensor(f"{module}.weight").t().contiguous(), bias)

    def _norm(self, module: str) -> NormWeights:
        weight, bias = (
            self.checkpoint.tensor(f"{self.prefix}{module}.{part}", torch.float32) for part in ("weight", "bias")
        )
        return NormWeights(weight, bias)
