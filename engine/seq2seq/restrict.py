"""What changes logits before tokens are chosen from them, in the order and meaning of `transformers`' processors.

Repetition penalty, n-grams that must not come again, forbidden tokens, the least length, forced first and last tokens.
Beam search applies them to log-probabilities, all else to raw logits; only the penalty makes a difference of it.

Rules become plain data where the texts are known (`Restrictions`), and that is applied where the logits are (`apply`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.seq2seq.request import Decoding

Ints = NDArray[np.int32]
Places = NDArray[np.int64]  # (N, 2) rows and tokens

NOWHERE: Places = np.zeros((0, 2), np.int64)


@dataclass(frozen=True, slots=True)
class Penalty:
    """For rows `row`, `row` + 1, ...: the tokens that each has already, (rows, n), become less likely by `factor`."""

    row: int
    factor: float
    seen: Ints


@dataclass(frozen=True, slots=True)
class Restricted:
    """What one step's rows may not choose, or must. With `normalized` a penalty is of log-probabilities."""

    normalized: bool
    penalties: tuple[Penalty, ...]
    columns: tuple[int, ...]  # tokens that no row may choose
    places: Places
    forced: tuple[tuple[int, int, int], ...]  # rows from, up to; their only token; the last one counts


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
        alike = len({decoding.forbidden for decoding in decodings}) == 1
        self.columns = decodings[0].forbidden if alike else ()
        self.forbidden = NOWHERE if alike else _everywhere([decoding.forbidden for decoding in decodings], width)
        self.min_tokens = np.array([d.min_tokens for d in decodings], np.int32)
        self.first = np.array([-1 if d.first_token is None else d.first_token for d in decodings], np.int32)
        self.last = np.array([d.max_tokens if d.force_end else 0 for d in decodings], np.int32)
        self.penalized = [s for s, d in enumerate(decodings) if d.repetition_penalty != 1 or d.no_repeat_ngram]

    def resolve(self, lengths: Ints, tokens: Ints) -> Restricted:
        """For the next step. lengths (S,): the tokens generated so far, which are tokens[s, b, : lengths[s]]."""
        penalties: list[Penalty] = []
        places = [self.forbidden] if len(self.forbidden) else []
        for sentence in self.penalized:
            decoding, row = self.decodings[sentence], sentence * self.width
            begun = np.full((self.width, 1), self.start, np.int32)
            seen = np.concatenate([begun, tokens[sentence, :, : lengths[sentence]]], axis=1)
            if decoding.repetition_penalty != 1:
                penalties.append(Penalty(row, decoding.repetition_penalty, seen))
            if decoding.no_repeat_ngram:
                banned = [repeats(one, decoding.no_repeat_ngram) for one in seen.tolist()]
                found = [(row + at, token) for at, them in enumerate(banned) for token in them]
                places.append(np.array(found, np.int64).reshape(-1, 2))
        if (short := lengths + 1 < self.min_tokens).any():
            rows = np.repeat(short, self.width).nonzero()[0]
            places.append(np.stack([np.repeat(rows, len(self.ends)), np.tile(self.ends, len(rows))], axis=1))
        forced = [(s, int(self.first[s])) for s in ((lengths == 0) & (self.first >= 0)).nonzero()[0].tolist()]
        forced += [(s, self.ends[0]) for s in (lengths + 1 == self.last).nonzero()[0].tolist()]
        return Restricted(
            self.normalized,
            tuple(penalties),
            self.columns,
            places[0] if len(places) == 1 else np.concatenate(places) if places else NOWHERE,
            tuple((s * self.width, (s + 1) * self.width, token) for s, token in forced),
        )


def apply(restricted: Restricted, logits: Tensor, log_sums: Tensor) -> None:
    """Changes logits (R, V) in place. log_sums (R,) are theirs."""
    for penalty in restricted.penalties:
        rows = slice(penalty.row, penalty.row + len(penalty.seen))
        _penalize(logits[rows], log_sums[rows] if restricted.normalized else None, penalty)
    if len(restricted.columns) == 1:
        logits[:, restricted.columns[0]] = -torch.inf
    elif restricted.columns:
        logits[:, list(restricted.columns)] = -torch.inf
    if len(restricted.places):
        places = torch.from_numpy(restricted.places)
        logits[places[:, 0], places[:, 1]] = -torch.inf
    for first, last, token in restricted.forced:  # leaves one token, and gives it the probability 1
        logits[first:last] = -torch.inf
        logits[first:last, token] = log_sums[first:last]


def _penalize(logits: Tensor, log_sums: Tensor | None, penalty: Penalty) -> None:
    zero = torch.zeros(1, 1, device=logits.device) if log_sums is None else log_sums[:, None]
    at = torch.from_numpy(penalty.seen.astype(np.int64)).to(logits.device)
    values = logits.gather(1, at) - zero
    less = torch.where(values < 0, values * penalty.factor, values / penalty.factor)
    logits.scatter_(1, at, less + zero)


def _everywhere(forbidden: Sequence[tuple[int, ...]], width: int) -> Places:
    """Each sentence's tokens in all of its rows."""
    found = [
        (sentence * width + row, token)
        for sentence, tokens in enumerate(forbidden)
        for token in tokens
        for row in range(width)
    ]
    return np.array(found, np.int64).reshape(-1, 2)


def repeats(tokens: Sequence[int], size: int) -> list[int]:
    """The tokens that would complete an n-gram of that size which `tokens` have already."""
    if len(tokens) < size:
        return []
    last = tuple(tokens[len(tokens) - size + 1 :])
    return [tokens[at + size - 1] for at in range(len(tokens) - size + 1) if tuple(tokens[at : at + size - 1]) == last]
