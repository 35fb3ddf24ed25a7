"""OptimizedTransformer: a causal `torch.nn.TransformerEncoder` between an embedding and an output projection.

The embedding is scaled by sqrt(d_model) and gets sinusoidal positions. A checkpoint is a state dict with
`embedding.weight`, `transformer.layers.{i}.*` as torch names them, and `output_proj.{weight,bias}`.
"""

from __future__ import annotations

import math
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
    """Reads config.json; all but `vocab_size` has a default. Raises CheckpointError for what does not fit."""
    config = {"d_model": 512, "nhead": 8, "num_layers": 6, "max_len": 5000, **config}
    hidden, heads = positive(config, "d_model"), positive(config, "nhead")
    if hidden % heads or hidden % 2:
        raise CheckpointError(f"config.json: d_model {hidden} must be even and a multiple of nhead {heads}")
    return Architecture(
        vocab_size=positive(config, "vocab_size"),
        hidden_size=hidden,
        num_layers=positive(config, "num_layers"),
        heads=Heads(heads, heads, hidden // heads),
        max_positions=positive(config, "max_len"),
        norm="layer",
        norm_eps=float(config.get("layer_norm_eps", 1e-5)),
        activation=activation(config.get("activation", "gelu")),
        gated=False,
        positions="sinusoidal",
        norm_first=bool(config.get("norm_first", False)),
        embedding_scale=math.sqrt(hidden),
    )


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) fp32: sines at even columns, cosines at odd ones (Vaswani et al. 2017, arXiv 1706.03762)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(length).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class Weights:
    def __init__(self, checkpoint: Checkpoint, arch: Architecture, dtype: torch.dtype) -> None:
        self.checkpoint = checkpoint
        self.arch = arch
        self.dtype = dtype
        self.names = checkpoint.names()

    def embedding(self) -> Tensor:
        return self.checkpoint.tensor("embedding.weight", self.dtype)

    def positions(self, length: int) -> Tensor:
        return sinusoids(length, self.arch.hidden_size)

    def rope_factors(self) -> Tensor | None:
        return None

    def layer(self, index: int) -> LayerWeights:
        at = f"transformer.layers.{index}"
        return LayerWeights(
            attention_norm=self._norm(f"{at}.norm1"),
            qkv=self._affine(f"{at}.self_attn.in_proj_"),
            out=self._affine(f"{at}.self_attn.out_proj."),
            mlp_norm=self._norm(f"{at}.norm2"),
            up=self._affine(f"{at}.linear1."),
            down=self._affine(f"{at}.linear2."),
        )

    def final_norm(self) -> NormWeights | None:
        return self._norm("transformer.norm") if "transformer.norm.weight" in self.names else None

    def head(self) -> Affine:
        return self._affine("output_proj.")

    def _affine(self, prefix: str) -> Affine:
        return Affine(self.checkpoint.tensor(f"{prefix}weight", self.dtype), self._bias(f"{prefix}bias"))

    def _norm(self, module: str) -> NormWeights:
        return NormWeights(self.checkpoint.tensor(f"{module}.weight", torch.float32), self._bias(f"{module}.bias"))

    def _bias(self, name: str) -> Tensor | None:
        return self.checkpoint.tensor(name, torch.float32) if name in self.names else None
