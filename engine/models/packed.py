"""Texts for an encoder, their tokens one after another: nothing is padded."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.models.encoder_architecture import EncoderArchitecture


@dataclass(frozen=True, slots=True)
class Text:
    """Token ids with the special ones, and parallel segment ids; none mean all 0."""

    tokens: Sequence[int]
    types: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Packed:
    """T tokens of B texts."""

    tokens: Tensor  # (T,) int64
    types: Tensor  # (T,) int64
    positions: Tensor  # (T,) int64, as the architecture counts them
    starts: Tensor  # (B + 1,) int32, where each text begins, and the end of the last

    def to(self, device: torch.device) -> Packed:
        if self.tokens.device == device:
            return self
        return Packed(*(part.to(device) for part in (self.tokens, self.types, self.positions, self.starts)))


def pack(texts: Sequence[Text], arch: EncoderArchitecture, device: torch.device | str = "cpu") -> Packed:
    """Lays the texts out as tensors on `device`."""
    tokens = [token for text in texts for token in text.tokens]
    types = [kind for text in texts for kind in (text.types or [0] * len(text.tokens))]
    positions = [position for text in texts for position in number(text.tokens, arch)]
    starts = list(itertools.accumulate((len(text.tokens) for text in texts), initial=0))

    def ints(values: list[int], dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    return Packed(ints(tokens), ints(types), ints(positions), ints(starts, torch.int32))


def number(tokens: Sequence[int], arch: EncoderArchitecture) -> Sequence[int]:
    """The positions of a text's tokens."""
    padding, first = arch.padding_token, arch.position_offset
    if padding is None or padding not in tokens:
        return range(first, first + len(tokens))
    counted = itertools.accumulate(int(token != padding) for token in tokens)
    return [padding if token == padding else first + count - 1 for token, count in zip(tokens, counted, strict=True)]
