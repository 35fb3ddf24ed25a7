"""What changes logits before tokens are chosen from them, in the order and meaning of `transformers`' processors.

Repetition penalty, n-grams that must not come again, forbidden tokens, the least length, forced first and last tokens.
Beam search applies them to log-probabilities, all else to raw logits; only the penalty makes a difference of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.seq2seq.request import Decoding

Ints = NDArray[np.int32]


class Restrictions:
    """The rules of S sentences with B rows each, prepared for their steps."""

    def __init__(
        self, decodings: Sequence[Decoding], width: int, start: int, ends: Sequence[int], normalized: bool
    ) -> None:
        self.decodings = decodings
        self.width = width
        self.start = start
        self.ends = list(ends)
        self.normalized = normalized
        self.forbidden = _places([decoding.forbidden for decoding in decodings], width)
        self.min_tokens = np.array([d.min_tokens for d in decodings], np.int32)
        self.first = np.array([-1 if d.first_token is None else d.first_token for d in decodings], np.int32)
        self.last = np.array([d.max_tokens if d.force_end else 0 for d in decodings], np.int32)
        self.penalized = [s for s, d in enumerate(decodings) if d.repetition_penalty != 1 or d.no_repeat_ngram]

    def apply(self, logits: Tensor, log_sums: Tensor, lengths: Ints, tokens: Ints) -> None:
        """Changes logits (S * B, V) in place. log_sums (S * B,) are theirs, lengths (S,) the tokens generated so far,
        which are tokens[s, b, : lengths[s]]."""
        for sentence in self.penalized:
            rows = slice(sentence * self.width, (sentence + 1) * self.width)
            history = tokens[sentence, :, : lengths[sentence]]
            self._penalize(logits[rows], log_sums[rows], self.decodings[sentence], history)
        if self.forbidden is not None:
            logits[self.forbidden] = -torch.inf
        if (short := lengths + 1 < self.min_tokens).any():
            early = torch.from_numpy(np.repeat(short, self.width).nonzero()[0])
            logits[early[:, None], torch.tensor(self.ends)] = -torch.inf
        for sentence in ((lengths == 0) & (self.first >= 0)).nonzero()[0].tolist():
            self._force(logits, log_sums, sentence, int(self.first[sentence]))
        for sentence in (lengths + 1 == self.last).nonzero()[0].tolist():
            self._force(logits, log_sums, sentence, self.ends[0])

    def _force(self, logits: Tensor, log_sums: Tensor, sentence: int, token: int) -> None:
        """Leaves one token, and gives it the probability 1."""
        rows = slice(sentence * self.width, (sentence + 1) * self.width)
        logits[rows] = -torch.inf
        logits[rows, token] = log_sums[rows]

    def _penalize(self, logits: Tensor, log_sums: Tensor, decoding: Decoding, history: Ints) -> None:
        """logits (B, V) of one sentence, history (B, generated)."""
        begun = np.full((self.width, 1), self.start, np.int32)
        seen = torch.from_numpy(np.concatenate([begun, history], axis=1).astype(np.int64))
        if decoding.repetition_penalty != 1:
            zero = log_sums[:, None] if self.normalized else torch.zeros(1, 1, device=logits.device)
            at = seen.to(logits.device)
            values = logits.gather(1, at) - zero
            penalty = decoding.repetition_penalty
            logits.scatter_(1, at, torch.where(values < 0, values * penalty, values / penalty) + zero)
        if decoding.no_repeat_ngram:
            for row, tokens in enumerate(seen.tolist()):
                banned = repeats(tokens, decoding.no_repeat_ngram)
                if banned:
                    logits[row, torch.tensor(banned)] = -torch.inf


def _places(forbidden: Sequence[tuple[int, ...]], width: int) -> Any:
    """What picks the forbidden tokens out of logits (S * width, V): whole columns where all sentences forbid alike."""
    if not any(forbidden):
        return None
    if all(tokens == forbidden[0] for tokens in forbidden):
        return slice(None), list(forbidden[0]) if len(forbidden[0]) > 1 else forbidden[0][0]
    found = [
        (sentence * width + row, token)
        for sentence, tokens in enumerate(forbidden)
        for token in tokens
        for row in range(width)
    ]
    return tuple(torch.tensor(found).T)


def repeats(tokens: Sequence[int], size: int) -> list[int]:
    """The tokens that would complete an n-gram of that size which `tokens` have already."""
    if len(tokens) < size:
        return []
    last = tuple(tokens[len(tokens) - size + 1 :])
    return [tokens[at + size - 1] for at in range(len(tokens) - size + 1) if tuple(tokens[at : at + size - 1]) == last]
