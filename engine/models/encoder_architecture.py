"""An encoder's shape, whatever its family: properties, never names of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.kernels import Activation, Heads
from engine.models.architecture import Rotary


@dataclass(frozen=True, slots=True)
class EncoderArchitecture:
    """What one bidirectional Transformer is made of. Sizes in values, positions in tokens.

    `max_positions` is the longest text; None where positions are relative and nothing bounds them.
    A text's first token has position `position_offset`. With a `padding_token`, tokens of that id inside a text have
    position `padding_token` and are not counted (RoBERTa's numbering).
    `attention_scale` multiplies the scores. Layers in `local_layers` attend to keys up to `window` // 2 tokens away and
    turn by `local_rotary`, all others to the whole text and by `rotary`.
    `token_types` is the number of segment kinds, 0 for none. With `norm_first` off, norms follow attention and MLP.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    heads: Heads
    max_positions: int | None
    norm: Literal["rms", "layer"]
    norm_eps: float
    activation: Activation
    gated: bool
    norm_first: bool
    attention_scale: float
    positions: Literal["learned", "sinusoidal", "rotary", "relative", "none"]
    position_offset: int = 0
    padding_token: int | None = None
    token_types: int = 0
    embedding_scale: float = 1.0
    rotary: Rotary | None = None
    local_rotary: Rotary | None = None
    window: int | None = None
    local_layers: frozenset[int] = frozenset()
