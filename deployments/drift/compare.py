"""How much two variants' answers to the same agree. Pure functions; of texts only tokens and numbers come here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.request import TokenLogprobs
from engine.seq2seq.request import Hypothesis

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Sums over what was compared: tokens of a generated text, texts, or sentences. `agreed` of them were the same (a
    share of one counts as that share); `gap` is how far apart they were in what the task's numbers are."""

    compared: int = 0
    agreed: float = 0.0
    gap: float = 0.0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(self.compared + other.compared, self.agreed + other.agreed, self.gap + other.gap)


def tokens(said: Sequence[TokenLogprobs], reference: Sequence[TokenLogprobs | None]) -> Comparison:
    """A generated text, token by token: whether both variants hold the same token for the likeliest in that place,
    whichever was chosen, and how far apart the chosen one's log-probabilities are. `reference` is told of the same
    tokens, read behind the same prompt."""
    found = Comparison()
    for mine, theirs in zip(said, reference, strict=True):
        if theirs is not None:
            same = _likeliest(mine) == _likeliest(theirs)
            found += Comparison(1, float(same), abs(mine.logprob - theirs.logprob))
    return found


def probabilities(mine: Floats, theirs: Floats) -> Comparison:
    """A classified text: the likeliest label, and the largest difference of a probability. Both (labels,)."""
    return Comparison(1, float(mine.argmax() == theirs.argmax()), float(np.abs(mine - theirs).max()))


def vectors(mine: Floats, theirs: Floats) -> Comparison:
    """An embedded text: the cosine of both vectors (width,) is how much they agree, what it lacks of 1 is the gap."""
    length = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
    cosine = float(mine @ theirs) / length if length else 0.0
    return Comparison(1, max(0.0, cosine), 1.0 - cosine)


def sentence(mine: Hypothesis, theirs: Hypothesis) -> Comparison:
    """A translated sentence: the share of tokens that both have in the same order, and how far apart the scores are."""
    ratio = SequenceMatcher(None, mine.tokens, theirs.tokens, autojunk=False).ratio()
    return Comparison(1, ratio, abs(mine.score - theirs.score))


def _likeliest(told: TokenLogprobs) -> int:
    """The chosen token where nothing was likelier; else the first of those that were asked for beside it."""
    return told.token if told.rank == 1 or not told.top else told.top[0][0]
