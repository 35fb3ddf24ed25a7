"""The next token of every running sequence, from one batch of logits.

In this order: logit bias, penalties, min_tokens, grammar; then log-probabilities are taken; then temperature, top_k,
top_p, min_p, and the draw. A row's result depends on that row alone, bit for bit, and its random number on
(seed, position) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.request import TokenLogprobs
from engine.sampling.adjust import adjust
from engine.sampling.draw import argmax, draw_truncated, draw_weighed, padded_rows, weigh
from engine.sampling.logprobs import token_logprobs
from engine.sampling.pick import Pick
from engine.sampling.uniform import uniform


@dataclass(frozen=True, slots=True)
class Sampled:
    """A row's next token; `logprobs` where the request asked for them."""

    token: int
    logprobs: TokenLogprobs | None = None


def sample(logits: torch.Tensor, rows: Sequence[Pick]) -> list[Sampled]:
    """Choose each row's next token from logits (rows, vocabulary) of any float dtype, which are not modified.

    The caller appends the tokens to the rows' `generated`. A row without any possible token (all -inf, or NaN) gets
    some token of the vocabulary rather than an error, for an error would take its neighbours along.
    """
    plain = [i for i, row in enumerate(rows) if row.greedy and row.params.logprobs is None and not row.adjusted]
    found: dict[int, Sampled] = {}
    if plain:
        chosen = logits if len(plain) == len(rows) else logits[torch.tensor(plain, device=logits.device)]
        found = {i: Sampled(token) for i, token in zip(plain, argmax(chosen), strict=True)}
    others = [i for i in range(len(rows)) if i not in found]
    if others:
        work = padded_rows(logits, others)
        other_rows = [rows[i] for i in others]
        tokens = _draw(work, other_rows, logits.shape[1])
        reports = _report(work, other_rows, tokens)
        found |= {i: Sampled(token, report) for i, token, report in zip(others, tokens, reports, strict=True)}
    return [found[i] for i in range(len(rows))]


def _draw(work: torch.Tensor, rows: Sequence[Pick], vocabulary: int) -> list[int]:
    """Adjust the rows' logits in place (rows, padded vocabulary) and draw."""
    logits = work.numpy()
    tokens: list[int | None] = [None] * len(rows)
    weighed: list[int] = []  # rows that need the sum over the whole vocabulary
    for i, row in enumerate(rows):
        if row.adjusted:
            adjust(logits[i, :vocabulary], row)
        params = row.params
        if row.greedy:
            continue
        top_k = 0 < params.top_k < vocabulary
        if not top_k and (params.top_p < 1 or params.min_p <= 0):
            weighed.append(i)
        else:
            tokens[i] = draw_truncated(logits[i], params, uniform(params.seed, row.position), None)
    for one in weigh(work, weighed, [rows[i].params.temperature for i in weighed]):
        row = rows[one.index]
        u = uniform(row.params.seed, row.position)
        if row.params.top_p < 1:
            tokens[one.index] = draw_truncated(logits[one.index], row.params, u, one.total)
        else:
            tokens[one.index] = draw_weighed(one, u)
    return [int(logits[i].argmax()) if token is None else token for i, token in enumerate(tokens)]


def _report(work: torch.Tensor, rows: Sequence[Pick], tokens: Sequence[int]) -> list[TokenLogprobs | None]:
    wanted = [(i, row.params.logprobs) for i, row in enumerate(rows) if row.params.logprobs is not None]
    found: list[TokenLogprobs | None] = [None] * len(rows)
    if wanted:
        indices = [i for i, _ in wanted]
        made = token_logprobs(work, indices, [tokens[i] for i in indices], [top for _, top in wanted])
        for i, logprobs in zip(indices, made, strict=True):
            found[i] = logprobs
    return found
