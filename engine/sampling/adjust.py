"""What changes logits before a token is drawn: bias, penalties, min_tokens, the grammar. In this order, sparsely."""

from __future__ import annotations

import numpy as np

from engine.request import SamplingParams
from engine.sampling.pick import Pick, Seen


def adjust(logits: np.ndarray, row: Pick) -> None:
    """Adjust one row's logits (vocabulary,) float32 in place.

    Token ids outside the vocabulary are ignored: a request's mistake must not reach another row's memory.
    """
    params = row.params
    if params.logit_bias:
        _add_bias(logits, params)
    if (seen := row.seen()) is not None:
        _penalize(logits, params, seen)
    allowed = row.allowed(len(logits))
    if row.held_back:
        stops = _inside(np.asarray(row.held_back, dtype=np.int64), len(logits))
        # A grammar that has come to its end leaves nothing but stop tokens: then it ends, min_tokens or not.
        if allowed is None or np.count_nonzero(allowed) > np.count_nonzero(allowed[stops]):
            logits[stops] = -np.inf
    if allowed is not None:
        np.copyto(logits, -np.inf, where=~allowed)


def _add_bias(logits: np.ndarray, params: SamplingParams) -> None:
    tokens = np.fromiter(params.logit_bias.keys(), dtype=np.int64, count=len(params.logit_bias))
    bias = np.fromiter(params.logit_bias.values(), dtype=np.float32, count=len(params.logit_bias))
    inside = (tokens >= 0) & (tokens < len(logits))
    logits[tokens[inside]] += bias[inside]


def _penalize(logits: np.ndarray, params: SamplingParams, seen: Seen) -> None:
    """Repetition over prompt and generated tokens; frequency and presence over generated ones only."""
    tokens, counts = seen
    if len(tokens) and tokens.max() >= len(logits):
        inside = tokens < len(logits)
        tokens, counts = tokens[inside], counts[inside]
    values = logits[tokens]
    if params.repetition_penalty != 1:
        penalty = np.float32(params.repetition_penalty)
        values = np.where(values > 0, values / penalty, values * penalty)
    values -= np.float32(params.frequency_penalty) * counts
    values -= np.float32(params.presence_penalty) * (counts > 0)
    logits[tokens] = values


def _inside(tokens: np.ndarray, size: int) -> np.ndarray:
    return tokens[(tokens >= 0) & (tokens < size)]
