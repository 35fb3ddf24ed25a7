"""The Llama family: Llama, SmolLM2, Mistral, Qwen2, Qwen3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.kernels import Heads
from engine.models.architecture import Architecture, Rotary, activation, optional, positive, reads_config, require
from engine.models.weights import Affine, LayerWeights, NormWeights, stacked


@reads_config
def architecture(config: Mapping[str, Any]) -> Architecture:
    """Reads config.json. Raises CheckpointError for what it lacks or what is not supported."""
    hidden, query = positive(config, "hidden_size"), positive(config, "num_attention_heads")
    kv = optional(config, "num_key_value_heads") or query
    width = optional(config, "head_dim") or hidden // query
    if query % kv or width % 2 or not width:
        raise CheckpointError(
            f"config.json: {query} heads do not share {kv} key-value heads, or head size {width} is not even"
        )
    longest = positive(config, "max_position_embeddings")
    scaling = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = scaling.pop("rope_theta", None) or config.get("rope_theta") or 10000.0
    turned = int(width * (scaling.pop("partial_rotary_factor", None) or config.get("partial_rotary_factor") or 1.0))
    if not 0 < turned <= width:
        raise CheckpointError(f"config.json: partial_rotary_factor means {turned} values of a head of {width}")
    window = optional(config, "sliding_window") if config.get("use_sliding_window", True) else None
    return Architecture(
        vocab_size=positive(config, "vocab_size"),
        hidden_size=hidden,
        num_layers=positive(config, "num_hidden_layers"),
        heads=Heads(query, kv, width),
        # Within its window a sliding-window model attends to everything: serving it up to there needs no mask.
        max_positions=min(longest, window) if window else longest,
        norm="rms",
        norm_eps=float(require(config, "rms_norm_eps")),
        activation=activation(config.get("hidden_act", "silu")),
        gated=True,
        positions="rotary",
        rotary=Rotary(turned, float(theta), scaling, longest),
        tied_head=bool(config.get("tie_word_embeddings", False)),
    )


class Weights:
    """A checkpoint under Hugging Face's names of the family, with or without the "model." in front."""

    def __init__(self, checkpoint: Checkpoint, arch: Architecture, dtype: torch.dtype) -> None:
        self.checkpoint = checkpoint
        self.dtype = dtype
        self.names = checkpoint.names()
        self.prefix = "model." if "model.embed_tokens.weight" in self.names else ""

    def embedding(self) -> Tensor:
        return self._tensor("embed_tokens.weight")

    def positions(self, length: int) -> Tensor | None:
        return None

    def rope_factors(self) -> Tensor | None:
        name = "rope_freqs.weight"
        return self.checkpoint.tensor(name, torch.float32) if name in self.names else None

    def layer(self, index: int) -> LayerWeights:
        at = f"layers.{index}"
        return LayerWeights(
            attention_norm=self._norm(f"{at}.input_layernorm.weight"),
            qkv=self._stacked(*(f"{at}.self_attn.{part}_proj" for part in "qkv")),
            out=self._stacked(f"{at}.self_attn.o_proj"),
            mlp_norm=self._norm(f"{at}.post_attention_layernorm.weight"),
            up=self._stacked(f"{at}.mlp.gate_proj", f"{at}.mlp.up_proj"),
            down=self._stacked(f"{at}.mlp.down_proj"),
            q_norm=self._optional(f"{at}.self_attn.q_norm.weight"),
            k_norm=self._optional(f"{at}.self_attn.k_norm.weight"),
        )

    def final_norm(self) -> NormWeights:
        return self._norm("norm.weight")

    def head(self) -> Affine:
        return Affine(self.checkpoint.tensor("lm_head.weight", self.dtype))

    def _norm(self, name: str) -> NormWeights:
        return NormWeights(self.checkpoint.tensor(self.prefix + name, torch.float32))

    def _tensor(self, name: str) -> Tensor:
        return self.checkpoint.tensor(self.prefix + name, self.dtype)

    def _optional(self, name: str) -> Tensor | None:
        return self.checkpoint.tensor(self.prefix + name, torch.float32) if self.prefix + name in self.names else None

    def _stacked(self, *modules: str) -> Affine:
        weights = [self._tensor(f"{module}.weight") for module in modules]
        biases = [self._optional(f"{module}.bias") for module in modules]
        return stacked(weights, biases)
