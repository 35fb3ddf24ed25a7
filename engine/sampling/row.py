"""One sequence that needs its next token: what to sample by, and the counts that penalties need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.request import SamplingParams
from engine.sampling.grammar_state import GrammarState
from engine.sampling.pick import Seen, is_greedy


class TokenCounts:
    """The distinct tokens of a sequence and how often each was generated, kept in step with a list that only grows."""

    __slots__ = ("_counts", "_slots", "_synced", "_tokens")

    def __init__(self, prompt: Sequence[int] = ()) -> None:
        self._tokens = np.unique(np.asarray(prompt, dtype=np.int64))
        self._counts = np.zeros(len(self._tokens), dtype=np.float32)
        self._slots = {token: slot for slot, token in enumerate(self._tokens.tolist())}
        self._synced = 0

    def update(self, generated: Sequence[int]) -> None:
        """Count the tokens that `generated` gained since the last call."""
        for token in generated[self._synced :]:
            slot = self._slots.get(token)
            if slot is None:
                slot = self._add(token)
            self._counts[slot] += 1
        self._synced = len(generated)

    @property
    def tokens(self) -> np.ndarray:  # (distinct,)
        return self._tokens[: len(self._slots)]

    @property
    def counts(self) -> np.ndarray:  # (distinct,), 0 for tokens that only the prompt has
        return self._counts[: len(self._slots)]

    def _add(self, token: int) -> int:
        slot = len(self._slots)
        if slot == len(self._tokens):
            room = max(64, slot)
            self._tokens = np.concatenate([self._tokens, np.zeros(room, dtype=np.int64)])
            self._counts = np.concatenate([self._counts, np.zeros(room, dtype=np.float32)])
        self._tokens[slot] = token
        self._slots[token] = slot
        return slot


@dataclass(slots=True, eq=False)
class Row:
    """A sequence's sampling state; lives as long as the sequence and has one owner.

    The owner appends each new token to `generated` (only ever appends); everything else follows from that at the next
    `sample`. A row made with tokens already in `generated` goes on exactly as the row that produced them would have.
    `eos_token_ids` are the model's.
    """

    params: SamplingParams
    prompt: Sequence[int]
    generated: list[int]
    eos_token_ids: tuple[int, ...] = ()
    grammar: GrammarState | None = None
    greedy: bool = field(init=False)
    stop_token_ids: tuple[int, ...] = field(init=False)  # the model's and the request's
    counts: TokenCounts | None = field(init=False, default=None)  # only where penalties need it
    _always_adjusted: bool = field(init=False)

    def __post_init__(self) -> None:
        params = self.params
        self.greedy = is_greedy(params)
        self.stop_token_ids = tuple(dict.fromkeys((*self.eos_token_ids, *params.stop_token_ids)))
        if params.repetition_penalty != 1:
            self.counts = TokenCounts(self.prompt)
        elif params.presence_penalty or params.frequency_penalty:
            self.counts = TokenCounts()
        self._always_adjusted = bool(params.logit_bias) or self.counts is not None or self.grammar is not None

    @property
    def adjusted(self) -> bool:
        """Whether anything changes this row's logits before a token is drawn from them."""
        return self._always_adjusted or self.suppresses_stops

    @property
    def suppresses_stops(self) -> bool:
        return len(self.generated) < self.params.min_tokens

    @property
    def held_back(self) -> tuple[int, ...]:
        """Stop tokens that may not come yet."""
        return self.stop_token_ids if self.suppresses_stops else ()

    def seen(self) -> Seen | None:
        """What penalties are for, up to the last token."""
        if self.counts is None:
            return None
        self.counts.update(self.generated)
        return self.counts.tokens, self.counts.counts

    def allowed(self, size: int) -> np.ndarray | None:
        """What the grammar allows after the last token, bool (size,)."""
        if self.grammar is None:
            return None
        self.grammar.advance(self.generated)
        return self.grammar.allowed(size)

    @property
    def position(self) -> int:
        """The next token's index in the sequence."""
        return len(self.prompt) + len(self.generated)
