"""Log-probabilities of chosen tokens, their ranks, and the most likely alternatives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from engine.request import TokenLogprobs
from engine.sampling.draw import largest, padded_rows, weigh

_PROMPT_CHUNK = 16  # rows in float32 at a time: a prompt's logits can be many


def token_logprobs(
    rows: torch.Tensor, indices: Sequence[int], tokens: Sequence[int], tops: Sequence[int]
) -> list[TokenLogprobs]:
    """For `rows[index]` (n, padded vocabulary) float32, each with its chosen token and its number of alternatives.

    Ranks follow the order of `top`: by logit, then by token id. Impossible tokens (-inf) are never alternatives, so
    `top` can be shorter than asked for.
    """
    logits = rows.numpy()
    found = []
    for place, weighed in enumerate(weigh(rows, indices, [1.0] * len(indices))):
        row, token = logits[weighed.index], tokens[place]
        norm = weighed.maximum + math.log(weighed.total) if weighed.total > 0 else math.nan
        value = row[token]
        rank = 1 + np.count_nonzero(row > value) + np.count_nonzero(row[:token] == value)
        best = largest(row, tops[place]) if tops[place] > 0 else ()
        top = tuple((int(other), float(row[other]) - norm) for other in best)
        found.append(TokenLogprobs(token=token, logprob=float(value) - norm, rank=int(rank), top=top))
    return found


def prompt_logprobs(logits: torch.Tensor, next_tokens: torch.Tensor, top: int) -> list[TokenLogprobs]:
    """How likely the model found the tokens that did follow: logits (T, vocabulary), next_tokens (T,)."""
    tokens: list[int] = next_tokens.tolist()
    found: list[TokenLogprobs] = []
    for start in range(0, len(tokens), _PROMPT_CHUNK):
        chunk = tokens[start : start + _PROMPT_CHUNK]
        places = range(len(chunk))
        rows = padded_rows(logits[start : start + len(chunk)], places)
        found += token_logprobs(rows, places, chunk, [top] * len(chunk))
    return found
