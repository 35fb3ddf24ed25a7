"""Beam search as `transformers` defines it, for many sentences at once: pure functions over arrays.

S sentences, each with B hypotheses, room for L tokens each. Each sentence is searched as if it were alone. Equal scores
are taken in the order of hypotheses, then of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.seq2seq.arrays import among, with_room
from engine.seq2seq.request import Decoding, Hypothesis

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]

OUT = np.float32(-1e9)  # the score of what cannot be chosen, and below every score that can


@dataclass(frozen=True, slots=True)
class Beams:
    """Hypotheses that go on, the best ones that have ended, and the sentences' rules."""

    tokens: Ints  # (S, B, L)
    scores: Floats  # (S, B) sums of log-probabilities
    ended_tokens: Ints  # (S, B, L), best first
    ended_lengths: Ints  # (S, B)
    ended_scores: Floats  # (S, B), divided by length ** length_penalty
    ended: Flags  # (S, B), false where there is none yet
    improvable: Flags  # (S,) whether one that goes on may still beat the ended ones
    max_tokens: Ints  # (S,)
    length_penalty: NDArray[np.float64]  # (S,)
    early: Flags  # (S,) stop as soon as B have ended
    never: Flags  # (S,) stop only when none can become better at its full length


@dataclass(frozen=True, slots=True)
class Step:
    """What a step chose: for each of a sentence's B hypotheses the one it continues, and its new token."""

    beams: Beams
    parents: NDArray[np.int64]  # (S, B)
    tokens: Ints  # (S, B)
    stopped: Flags  # (S,)


def start(decodings: Sequence[Decoding], width: int) -> Beams:
    """Before the first token. All hypotheses are alike then, so all but the first are out."""
    count = len(decodings)
    scores = np.zeros((count, width), np.float32)
    scores[:, 1:] = OUT
    return Beams(
        tokens=np.zeros((count, width, 0), np.int32),
        scores=scores,
        ended_tokens=np.zeros((count, width, 0), np.int32),
        ended_lengths=np.zeros((count, width), np.int32),
        ended_scores=np.full((count, width), OUT, np.float32),
        ended=np.zeros((count, width), bool),
        improvable=np.ones(count, bool),
        max_tokens=np.array([d.max_tokens for d in decodings], np.int32),
        length_penalty=np.array([d.length_penalty for d in decodings], np.float64),
        early=np.array([d.early_stopping is True for d in decodings]),
        never=np.array([d.early_stopping == "never" for d in decodings]),
    )


def candidates(width: int, ends: int) -> int:
    """How many continuations of a sentence a step looks at, and so at most of one hypothesis.

    Enough that `width` of them go on even if the best ones all end.
    """
    return max(2, 1 + ends) * width


def advance(beams: Beams, lengths: Ints, values: Floats, ids: Ints, ends: Sequence[int]) -> Step:
    """One token more. lengths (S,): tokens generated so far. values, ids (S, B, K): the log-probabilities of each
    hypothesis' best K next tokens, best first. `ends` are the tokens that end a hypothesis."""
    count, width, _ = values.shape
    if beams.tokens.shape[2] <= (longest := int(lengths.max())):
        beams = with_room(beams, longest + 1)
    rows = np.arange(count)[:, None]
    totals = (values + beams.scores[:, :, None]).reshape(count, -1)
    best = _top(totals, candidates(width, len(ends)))
    scores, parents = totals[rows, best], best // values.shape[2]
    tokens = ids.reshape(count, -1)[rows, best]
    ending = among(tokens, ends) | (lengths + 1 >= beams.max_tokens)[:, None]
    # Those that go on.
    going = np.where(ending, scores + OUT, scores)
    kept = _top(going, width)
    mine, chosen = parents[rows, kept], tokens[rows, kept]
    history = beams.tokens[rows, mine]
    history[np.arange(count), :, lengths] = chosen
    # Those that end: only the first B may, the others are there to go on in their place.
    after = replace(beams, tokens=history, scores=going[rows, kept])
    now = ending & (np.arange(ending.shape[1]) < width)
    if now.any():
        after = _collect(after, beams, lengths, scores, parents, tokens, now)
    after = replace(after, improvable=beams.improvable & _may_improve(after, lengths))
    stopped = ~after.improvable | (after.early & after.ended.all(1)) | ending.all(1)
    return Step(after, mine, chosen, stopped)


def results(beams: Beams, sentence: int, hypotheses: int, ends: Sequence[int]) -> tuple[Hypothesis, ...]:
    """The best of a sentence that has stopped; fewer where not so many differ, as after one forced token."""
    found: list[Hypothesis] = []
    for place in range(hypotheses):
        length = max(int(beams.ended_lengths[sentence, place]), 1)
        total = float(beams.ended_scores[sentence, place]) * length ** float(beams.length_penalty[sentence])
        if found and (not beams.ended[sentence, place] or total <= OUT / 2):
            break
        tokens = beams.ended_tokens[sentence, place, : beams.ended_lengths[sentence, place]].tolist()
        if tokens and tokens[-1] in ends:
            tokens.pop()
        found.append(Hypothesis(tuple(tokens), float(beams.ended_scores[sentence, place])))
    return tuple(found)


def _collect(
    after: Beams,
    before: Beams,
    lengths: Ints,
    scores: Floats,
    parents: NDArray[np.int64],
    tokens: Ints,
    now: Flags,
) -> Beams:
    """Puts those that end now among the ended ones and keeps the best B."""
    count, width = before.scores.shape
    rows = np.arange(count)[:, None]
    closed = (before.early & before.ended.all(1)) | ~before.improvable
    divisor = ((lengths + 1.0) ** before.length_penalty).astype(np.float32)
    fresh = scores / divisor[:, None]
    fresh[closed] += OUT
    fresh[~now] += OUT
    merged = np.concatenate([before.ended_scores, fresh], axis=1)
    best = _top(merged, width)
    old = best < width
    past, new = np.where(old, best, 0), np.where(old, 0, best - width)  # among the ended, among the candidates
    history = np.where(old[:, :, None], before.ended_tokens[rows, past], before.tokens[rows, parents[rows, new]])
    place = np.arange(history.shape[2]) == lengths[:, None, None]
    history = np.where(place & ~old[:, :, None], tokens[rows, new][:, :, None], history)
    return replace(
        after,
        ended_tokens=history,
        ended_lengths=np.where(old, before.ended_lengths[rows, past], (lengths + 1)[:, None]),
        ended_scores=merged[rows, best],
        ended=np.concatenate([before.ended, now], axis=1)[rows, best],
    )


def _may_improve(beams: Beams, lengths: Ints) -> Flags:
    """Whether the best that goes on could pass the worst that has ended, by the estimate that `early_stopping` sets."""
    full = beams.never & (beams.length_penalty > 0)
    length = np.where(full, beams.max_tokens, lengths + 1).astype(np.float64)
    possible = (beams.scores[:, 0] / length**beams.length_penalty).astype(np.float32)
    worst = np.where(beams.ended.all(1), beams.ended_scores.min(1), OUT)
    found: Flags = possible > worst
    return found


def _top(values: Floats, count: int) -> NDArray[np.int64]:
    """The places of each row's highest, highest first."""
    return np.argsort(-values, axis=1, kind="stable")[:, :count]
