"""The sampler's definitions written out naively, with full sorts and plain loops; and random rows to try it on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from hypothesis import strategies as st

from engine.request import SamplingParams
from engine.sampling import Row


def adjusted(logits: Sequence[float], row: Row) -> list[float]:
    """Bias, penalties, min_tokens, one token at a time."""
    params, values = row.params, list(logits)
    for token, bias in params.logit_bias.items():
        values[token] += bias
    for token in {*row.prompt, *row.generated}:
        if values[token] > 0:
            values[token] /= params.repetition_penalty
        else:
            values[token] *= params.repetition_penalty
    for token in row.generated:
        values[token] -= params.frequency_penalty
    for token in set(row.generated):
        values[token] -= params.presence_penalty
    if len(row.generated) < params.min_tokens:
        for token in (*row.eos_token_ids, *params.stop_token_ids):
            values[token] = -math.inf
    return values


def distribution(logits: Sequence[float], params: SamplingParams) -> list[tuple[int, float]]:
    """(token, probability) in the order in which the draw walks through them."""
    highest = max(logits)
    weights = [math.exp((value - highest) / params.temperature) for value in logits]
    ids = list(range(len(logits)))
    truncates = 0 < params.top_k < len(ids) or params.top_p < 1 or params.min_p > 0
    if truncates:
        ids.sort(key=lambda token: (-logits[token], token))
        if 0 < params.top_k < len(ids):
            ids = ids[: params.top_k]
        if params.top_p < 1:
            total, reached, kept = sum(weights[token] for token in ids), 0.0, 0
            while kept == 0 or (kept < len(ids) and reached < params.top_p * total):
                reached += weights[ids[kept]]
                kept += 1
            ids = ids[:kept]
        ids = [token for token in ids if weights[token] >= params.min_p * weights[ids[0]]]
    total = sum(weights[token] for token in ids)
    return [(token, weights[token] / total) for token in ids]


def candidates(logits: Sequence[float], params: SamplingParams, u: float, slack: float = 1e-4) -> set[int]:
    """The token that `u` draws; two where rounding decides between them."""
    if params.temperature == 0:
        return {max(range(len(logits)), key=lambda token: (logits[token], -token))}
    found: set[int] = set()
    for nudge in (-1, 0, 1):
        around = SamplingParams(
            max_tokens=1,
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p if params.top_p == 1 else min(max(params.top_p * (1 + nudge * 1e-5), 0), 1 - 1e-9),
            min_p=params.min_p * (1 + nudge * 1e-5),
        )
        reached = 0.0
        for token, probability in distribution(logits, around):
            if reached - slack <= u < reached + probability + slack:
                found.add(token)
            reached += probability
    return found


def make_logits(rows: int, vocabulary: int, *, seed: int, spread: float = 3.0, step: float = 0.0) -> torch.Tensor:
    """Random logits (rows, vocabulary); a `step` rounds them to its multiples, which makes ties."""
    logits = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * spread
    return (logits / step).round() * step if step else logits


@st.composite
def sampling_params(draw: st.DrawFn, vocabulary: int) -> SamplingParams:
    """Parameters with each option on or off independently."""
    tokens = st.integers(0, vocabulary - 1)
    return SamplingParams(
        max_tokens=1000,
        temperature=draw(st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.5])),
        top_k=draw(st.sampled_from([0, 0, 1, 5, 50, 3 * vocabulary])),
        top_p=draw(st.sampled_from([1.0, 1.0, 0.01, 0.5, 0.9, 0.999])),
        min_p=draw(st.sampled_from([0.0, 0.0, 0.05, 0.5, 1.0])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.0, 1.3, 0.7])),
        presence_penalty=draw(st.sampled_from([0.0, 0.0, 0.5, -1.5])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.0, 0.25, -0.5])),
        logit_bias=draw(st.dictionaries(tokens, st.sampled_from([-100.0, -1.5, 2.0, 100.0]), max_size=3)),
        seed=draw(st.integers(-(2**63), 2**64 - 1)),
        logprobs=draw(st.sampled_from([None, None, 0, 3])),
        stop_token_ids=tuple(draw(st.lists(tokens, max_size=2))),
        min_tokens=draw(st.sampled_from([0, 0, 4])),
    )


@st.composite
def sequence_rows(draw: st.DrawFn, vocabulary: int) -> Row:
    tokens = st.lists(st.integers(0, vocabulary - 1), max_size=8)
    return Row(draw(sampling_params(vocabulary)), draw(tokens), draw(tokens), eos_token_ids=(2,))


def fresh(row: Row) -> Row:
    """The same sequence, its state built anew."""
    return Row(row.params, row.prompt, list(row.generated), row.eos_token_ids)
