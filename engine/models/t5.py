"""T5 (1.0 and 1.1, Flan) and mT5: relative position bias, RMS norms, no scale in attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
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


@reads_config
def architecture(config: Mapping[str, Any]) -> Seq2SeqArchitecture:
    """Reads config.json. Raises CheckpointError for what it lacks or what is not supported."""
    kind = str(config.get("feed_forward_proj", "gated-gelu" if config.get("model_type") == "mt5" else "relu"))
    gate, _, name = kind.rpartition("-")
    if gate not in ("", "gated"):
        raise CheckpointError(f"config.json: feed_forward_proj {kind!r} is not supported; relu and gated-gelu are")
    heads, width = positive(config, "num_heads"), positive(config, "d_kv")
    layers = positive(config, "num_layers")
    common: dict[str, Any] = {
        "vocab_size": positive(config, "vocab_size"),
        "hidden_size": positive(config, "d_model"),
        "max_positions": None,
        "norm": "rms",
        "norm_eps": float(config.get("layer_norm_epsilon", 1e-6)),
        # In this one place Hugging Face means the approximation where it says gelu.
        "activation": activation("gelu_new" if kind == "gated-gelu" else name),
        "gated": gate == "gated",
        "norm_first": True,
        "attention_scale": 1.0,
    }
    return Seq2SeqArchitecture(
        encoder=EncoderArchitecture(
            num_layers=layers, heads=Heads(heads, heads, width), positions="relative", **common
        ),
        decoder=CrossArchitecture(
            num_layers=optional(config, "num_decoder_layers") or layers, heads=heads, head_width=width, **common
        ),
    )


def scales_head(config: Mapping[str, Any]) -> bool:
    """Whether the decoder's output is divided by sqrt(d_model) before the head, as T5 1.0 has it.

    Its mark is the tying of embedding and head, by which 1.1 and mT5 differ; newer files say it outright.
    """
    given = config.get("scale_decoder_outputs")
    if isinstance(given, bool):
        return given
    return config.get("model_type") != "mt5" and config.get("tie_word_embeddings") is not False


def buckets(distances: Tensor, count: int, farthest: int) -> Tensor:
    """The bucket, 0 to `count` - 1, of each distance >= 0: exact for the nearer half, then by logarithm."""
    exact = count // 2
    far = torch.log(distances.float().clamp(min=1) / exact) / math.log(farthest / exact) * (count - exact)
    return torch.where(distances < exact, distances, (exact + far.long()).clamp(max=count - 1))


@dataclass(frozen=True)
class RelativeBias:
    """The learned bias of one side: a table (buckets, heads)."""

    table: Tensor
    farthest: int

    def both_ways(self, length: int) -> Tensor:
        """(heads, 2 length - 1): column key - query + length - 1. Half of the buckets are for keys ahead."""
        away = torch.arange(1 - length, length)
        half = len(self.table) // 2
        found = buckets(away.abs(), half, self.farthest) + (away > 0) * half
        return self.table[found].T.contiguous()

    def backwards(self, length: int) -> Tensor:
        """(heads, length): column d for the key d places back."""
        return self.table[buckets(torch.arange(length), len(self.table), self.farthest)].T.contiguous()


class Weights:
    """A checkpoint under Hugging Face's names of the family."""

    def __init__(self, checkpoint: Checkpoint, arch: Seq2SeqArchitecture, dtype: torch.dtype) -> None:
        self.named = Named(checkpoint, dtype, "")
        tables = Tables(self.named)
        self.shared = tables.shared
        farthest = optional(checkpoint.config, "relative_attention_max_distance") or 128
        scale = arch.decoder.hidden_size**-0.5 if scales_head(checkpoint.config) else 1.0
        self.encoder = EncoderHalf(Half(self.named, "encoder", arch.encoder.gated, farthest), tables)
        self.decoder = DecoderHalf(Half(self.named, "decoder", arch.decoder.gated, farthest), tables, scale)


@dataclass(frozen=True)
class Half:
    """What encoder and decoder have alike."""

    named: Named
    side: str
    gated: bool
    farthest: int

    def part(self, index: int, place: int) -> str:
        return f"{self.side}.block.{index}.layer.{place}"

    def bias(self) -> RelativeBias:
        """The first layer's, which all layers use."""
        name = f"{self.part(0, 0)}.SelfAttention.relative_attention_bias.weight"
        return RelativeBias(self.named.tensor(name, torch.float32), self.farthest)

    def attention(self, index: int) -> dict[str, Any]:
        named, at = self.named, self.part(index, 0)
        return {
            "attention_norm": named.norm(f"{at}.layer_norm"),
            "qkv": named.affine(*(f"{at}.SelfAttention.{part}" for part in "qkv")),
            "out": named.affine(f"{at}.SelfAttention.o"),
        }

    def mlp(self, index: int, place: int) -> dict[str, Any]:
        named, at = self.named, self.part(index, place)
        wide = [f"{at}.DenseReluDense.{name}" for name in (("wi_0", "wi_1") if self.gated else ("wi",))]
        return {
            "mlp_norm": named.norm(f"{at}.layer_norm"),
            "up": named.affine(*wide),
            "down": named.affine(f"{at}.DenseReluDense.wo"),
        }

    def final_norm(self) -> NormWeights:
        return self.named.norm(f"{self.side}.final_layer_norm")


@dataclass(frozen=True)
class EncoderHalf:
    half: Half
    tables: Tables

    def embedding(self) -> Tensor:
        return self.tables.encoder()

    def types(self) -> None:
        return None

    def positions(self, length: int) -> None:
        return None

    def relative_bias(self, length: int) -> Tensor:
        return self.half.bias().both_ways(length)

    def embedding_norm(self) -> None:
        return None

    def layer(self, index: int) -> LayerWeights:
        return LayerWeights(**self.half.attention(index), **self.half.mlp(index, 1))

    def final_norm(self) -> NormWeights:
        return self.half.final_norm()


@dataclass(frozen=True)
class DecoderHalf:
    half: Half
    tables: Tables
    scale: float  # of the decoder's output, before the head

    def embedding(self) -> Tensor:
        return self.tables.decoder()

    def positions(self, length: int) -> None:
        return None

    def relative_bias(self, length: int) -> Tensor:
        return self.half.bias().backwards(length)

    def embedding_norm(self) -> None:
        return None

    def layer(self, index: int) -> CrossLayerWeights:
        named, at = self.half.named, self.half.part(index, 1)
        return CrossLayerWeights(
            **self.half.attention(index),
            source_norm=named.norm(f"{at}.layer_norm"),
            source_q=named.affine(f"{at}.EncDecAttention.q"),
            source_kv=named.affine(f"{at}.EncDecAttention.k", f"{at}.EncDecAttention.v"),
            source_out=named.affine(f"{at}.EncDecAttention.o"),
            **self.half.mlp(index, 2),
        )

    def final_norm(self) -> NormWeights:
        norm = self.half.final_norm()
        return NormWeights(norm.weight * self.scale)

    @property
    def tied(self) -> bool:
        return self.tables.tied

    def head(self) -> Tensor:
        return self.tables.head()

    def head_bias(self) -> None:
        return None
