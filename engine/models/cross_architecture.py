"""The shape of an encoder-decoder, whatever its family: properties, never names of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.kernels import Activation
from engine.models.encoder_architecture import EncoderArchitecture


@dataclass(frozen=True, slots=True)
class CrossArchitecture:
    """What one decoder with attention to a source is made of. Sizes in values, positions in tokens.

    `max_positions` is the longest target, start token included; None where positions are relative and nothing bounds
    it. `attention_scale` multiplies the scores. With `norm_first` off, norms follow attention and MLP.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    heads: int
    head_width: int
    max_positions: int | None
    norm: Literal["rms", "layer"]
    norm_eps: float
    activation: Activation
    gated: bool
    norm_first: bool
    attention_scale: float
    embedding_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Seq2SeqArchitecture:
    encoder: EncoderArchitecture
    decoder: CrossArchitecture
