"""What choosing one row's next token depends on beside its logits, and that as plain data to send along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.request import SamplingParams

Seen = tuple[np.ndarray, np.ndarray]
"""Distinct tokens (n,) int64 and how often each was generated (n,) float32: 0 for those that only the prompt has."""


class Pick(Protocol):
    """One row of a batch. A sequence's own `Row` is one; `Frozen` is its copy, for a stage elsewhere."""

    @property
    def params(self) -> SamplingParams: ...

    @property
    def position(self) -> int:
        """The next token's index in the sequence."""

    @property
    def adjusted(self) -> bool:
        """Whether anything changes this row's logits before a token is drawn from them."""

    @property
    def greedy(self) -> bool: ...

    @property
    def held_back(self) -> tuple[int, ...]:
        """Stop tokens that may not come yet."""

    def seen(self) -> Seen | None:
        """What penalties are for; None where there are none."""

    def allowed(self, size: int) -> np.ndarray | None:
        """What the grammar allows next, bool (size,); None without one. `size` is the logits' width."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A row as it stands, for logits of one width. `mask` is what the grammar allows, in bits."""

    params: SamplingParams
    position: int
    adjusted: bool
    held_back: tuple[int, ...] = ()
    counts: Seen | None = None
    mask: np.ndarray | None = None  # (ceil(size / 8),) uint8

    @property
    def greedy(self) -> bool:
        return is_greedy(self.params)

    def seen(self) -> Seen | None:
        return self.counts

    def allowed(self, size: int) -> np.ndarray | None:
        if self.mask is None:
            return None
        return np.unpackbits(self.mask, count=size, bitorder="little").astype(bool)


def is_greedy(params: SamplingParams) -> bool:
    """Whether the likeliest token is taken, without a draw."""
    return params.temperature == 0 or params.top_k == 1


def freeze(pick: Pick, size: int) -> Frozen:
    """A copy of the row as it stands, for logits of width `size`."""
    if not pick.adjusted:
        return Frozen(pick.params, pick.position, False)
    seen, allowed = pick.seen(), pick.allowed(size)
    return Frozen(
        pick.params,
        pick.position,
        True,
        pick.held_back,
        None if seen is None else (seen[0].copy(), seen[1].copy()),
        None if allowed is None else np.packbits(allowed, bitorder="little"),
    )
