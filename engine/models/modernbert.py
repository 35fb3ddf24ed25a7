"""ModernBERT: rotary positions, norms before each part, a gated MLP; most layers see only what is near."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.kernels import Heads
from engine.models.architecture import Rotary, activation, positive, reads_config
from engine.models.encoder_architecture import EncoderArchitecture
from engine.models.named import Named
from engine.models.weights import LayerWeights, NormWeights

_KINDS = {"full_attention": 160_000.0, "sliding_attention": 10_000.0}  # and the rotary base where none is named
_OLD_NAMES = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}


@reads_config
def architecture(config: Mapping[str, Any]) -> EncoderArchitecture:
    """Reads config.json. Raises CheckpointError for what it lacks or what does not fit."""
    hidden, heads = positive(config, "hidden_size"), positive(config, "num_attention_heads")
    if hidden % heads or (hidden // heads) % 2:
        raise CheckpointError(f"config.json: hidden size {hidden} does not give {heads} heads an even width")
    layers = positive(config, "num_hidden_layers")
    return EncoderArchitecture(
        vocab_size=positive(config, "vocab_size"),
        hidden_size=hidden,
        num_layers=layers,
        heads=Heads(heads, heads, hidden // heads),
        max_positions=positive(config, "max_position_embeddings"),
        norm="layer",
        norm_eps=float(config.get("norm_eps", 1e-5)),
        activation=activation(config.get("hidden_activation", "gelu")),
        gated=True,
        norm_first=True,
        attention_scale=(hidden // heads) ** -0.5,
        positions="rotary",
        rotary=_rotary(config, "full_attention", hidden // heads),
        local_rotary=_rotary(config, "sliding_attention", hidden // heads),
        window=positive({"local_attention": 128, **config}, "local_attention"),
        local_layers=_local_layers(config, layers),
    )


def _local_layers(config: Mapping[str, Any], layers: int) -> frozenset[int]:
    """Layers with `layer_types` "sliding_attention"; older files say that every n-th layer sees everything."""
    kinds = config.get("layer_types")
    if kinds is None:
        every = positive({"global_attn_every_n_layers": 3, **config}, "global_attn_every_n_layers")
        return frozenset(index for index in range(layers) if index % every)
    if not isinstance(kinds, list) or len(kinds) != layers or not set(kinds) <= set(_KINDS):
        raise CheckpointError(f"config.json: layer_types must name {layers} of {', '.join(_KINDS)}")
    return frozenset(index for index, kind in enumerate(kinds) if kind == "sliding_attention")


def _rotary(config: Mapping[str, Any], kind: str, width: int) -> Rotary:
    given = (config.get("rope_parameters") or {}).get(kind) or config.get("rope_scaling") or {}
    scaling = dict(given)
    theta = scaling.pop("rope_theta", None) or config.get(_OLD_NAMES[kind]) or _KINDS[kind]
    return Rotary(width, float(theta), scaling, positive(config, "max_position_embeddings"))


class Weights:
    """A checkpoint under Hugging Face's names of the family."""

    def __init__(self, checkpoint: Checkpoint, arch: EncoderArchitecture, dtype: torch.dtype) -> None:
        self.named = Named(checkpoint, dtype, "model.")

    def embedding(self) -> Tensor:
        return self.named.tensor("embeddings.tok_embeddings.weight")

    def types(self) -> Tensor | None:
        return None

    def positions(self, length: int) -> Tensor | None:
        return None

    def relative_bias(self, length: int) -> Tensor | None:
        return None

    def embedding_norm(self) -> NormWeights:
        return self.named.norm("embeddings.norm")

    def layer(self, index: int) -> LayerWeights:
        at = f"layers.{index}"
        return LayerWeights(
            # The first layer's input has just been normed.
            attention_norm=self.named.norm(f"{at}.attn_norm") if index else None,
            qkv=self.named.affine(f"{at}.attn.Wqkv"),
            out=self.named.affine(f"{at}.attn.Wo"),
            mlp_norm=self.named.norm(f"{at}.mlp_norm"),
            up=self.named.affine(f"{at}.mlp.Wi"),
            down=self.named.affine(f"{at}.mlp.Wo"),
        )

    def final_norm(self) -> NormWeights:
        return self.named.norm("final_norm")
