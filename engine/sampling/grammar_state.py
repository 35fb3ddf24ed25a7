"""A compiled grammar, and where each sequence stands in its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from engine.errors import InvalidRequest


class CompiledGrammar:
    """A grammar ready to be followed by any number of sequences; immutable."""

    def __init__(self, handle: Any, eos_token_ids: tuple[int, ...], forbidden: np.ndarray) -> None:
        self._handle = handle
        self._eos_token_ids = eos_token_ids
        self._forbidden = forbidden

    @property
    def memory_bytes(self) -> int:
        size: int = self._handle.memory_size_bytes
        return size

    def state(self, stop_token_ids: Iterable[int] = ()) -> GrammarState:
        """A new sequence's state. The text may end, once it is complete, with the model's eos tokens or with the
        request's own stop tokens; before that neither can come. InvalidRequest if there are none at all."""
        vocabulary = self._handle.tokenizer_info.vocab_size
        stops = sorted({token for token in (*self._eos_token_ids, *stop_token_ids) if 0 <= token < vocabulary})
        if not stops:
            raise InvalidRequest(
                "This model has no end-of-sequence token; give stop_token_ids.", param="stop_token_ids"
            )
        return GrammarState(self._handle, stops, self._forbidden)


class GrammarState:
    """Where one sequence stands in its grammar. Built again from a sequence's tokens by `advance`."""

    def __init__(self, handle: Any, stop_token_ids: Sequence[int], forbidden: np.ndarray) -> None:
        import xgrammar

        self._stops = list(stop_token_ids)
        self._forbidden = forbidden  # token ids
        self._matcher = xgrammar.GrammarMatcher(handle, override_stop_tokens=self._stops)
        self._vocabulary: int = handle.tokenizer_info.vocab_size
        self._mask = xgrammar.allocate_token_bitmask(1, self._vocabulary)
        self._synced = 0
        self._ended = False

    @property
    def is_terminated(self) -> bool:
        """Whether the text has ended: nothing but stop tokens may follow from here on."""
        return self._ended

    def accept(self, token: int) -> bool:
        """Move on by one token; False if the grammar has no place for it, which ends the constrained text."""
        self._synced += 1
        if self._ended:
            return token in self._stops
        accepted: bool = self._matcher.accept_token(token)
        self._ended = not accepted or self._matcher.is_terminated()
        return accepted

    def advance(self, generated: Sequence[int]) -> None:
        """Accept the tokens that `generated`, all of the sequence's so far, gained since the last call."""
        for token in generated[self._synced :]:
            self.accept(token)

    def allowed(self, size: int) -> np.ndarray:
        """Which tokens may come next: bool (size,), with at least one True. `size` is the logits' width."""
        keep = np.zeros(size, dtype=bool)
        if not self._ended:
            self._matcher.fill_next_token_bitmask(self._mask)
            bits = np.unpackbits(self._mask.numpy().view(np.uint8)[0], bitorder="little")
            shared = min(size, self._vocabulary)
            keep[:shared] = bits[:shared]
            keep[self._forbidden[self._forbidden < size]] = False
        if not keep.any():  # ended, or a dead end that the vocabulary cannot leave
            keep[[stop for stop in self._stops if 0 <= stop < size]] = True
        return keep
