"""Hypotheses that know nothing of each other: greedy decoding (one a sentence) and sampling (any number)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.request import SamplingParams
from engine.sampling.uniform import uniform
from engine.seq2seq.arrays import among, with_room
from engine.seq2seq.request import Decoding, Hypothesis

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Strands:
    """S sentences of B strands each, room for L tokens. One that has ended idles until its sentence is done."""

    tokens: Ints  # (S, B, L)
    scores: Floats  # (S, B) sums of log-probabilities
    ended: Ints  # (S, B) the length at which it ended, 0 while it goes on
    max_tokens: Ints  # (S,)


def start(decodings: Sequence[Decoding], width: int) -> Strands:
    """Before the first token."""
    count = len(decodings)
    return Strands(
        tokens=np.zeros((count, width, 0), np.int32),
        scores=np.zeros((count, width), np.float32),
        ended=np.zeros((count, width), np.int32),
        max_tokens=np.array([d.max_tokens for d in decodings], np.int32),
    )


def advance(
    strands: Strands, lengths: Ints, values: Floats, tokens: Ints, ends: Sequence[int]
) -> tuple[Strands, Flags]:
    """One token more: values, tokens (S, B), lengths (S,) tokens generated so far. Also says which are done, (S,)."""
    if strands.tokens.shape[2] <= (longest := int(lengths.max())):
        strands = with_room(strands, longest + 1)
    history = strands.tokens.copy()
    history[np.arange(len(tokens)), :, lengths] = tokens
    going = strands.ended == 0
    over = (lengths + 1 >= strands.max_tokens)[:, None] | among(tokens, ends)
    ended = np.where(going & over, (lengths + 1)[:, None], strands.ended)
    scores = np.where(going, strands.scores + values, strands.scores)
    after = replace(strands, tokens=history, scores=scores, ended=ended.astype(np.int32))
    return after, np.all(ended > 0, axis=1)


def results(strands: Strands, sentence: int, length_penalty: float, ends: Sequence[int]) -> tuple[Hypothesis, ...]:
    """The strands of a sentence that is done, best first."""
    found = []
    for place, length in enumerate(strands.ended[sentence].tolist()):
        tokens = strands.tokens[sentence, place, :length].tolist()
        if tokens and tokens[-1] in ends:
            tokens.pop()
        score = float(strands.scores[sentence, place]) / length**length_penalty
        found.append(Hypothesis(tuple(tokens), score))
    return tuple(sorted(found, key=lambda hypothesis: -hypothesis.score))


def sampling_params(decoding: Decoding) -> list[SamplingParams]:
    """How each hypothesis of a sampled sentence draws. The first one's seed is the request's own."""
    seeds = [decoding.seed]
    seeds += [int(uniform(decoding.seed, -1 - place) * 2**53) for place in range(1, decoding.hypotheses)]
    return [
        SamplingParams(
            max_tokens=decoding.max_tokens,
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            top_p=decoding.top_p,
            min_p=decoding.min_p,
            seed=seed,
        )
        for seed in seeds
    ]
