"""One vector a text from the vectors of its tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["cls", "mean", "max", "mean_sqrt_len", "weighted_mean", "last"]


def pool(hidden: Tensor, starts: Tensor, pooling: Pooling) -> Tensor:
    """hidden (T, C) fp32 of B texts that begin at starts (B + 1,) -> (B, C). No text may be empty.

    Each text is summed by itself, so that its neighbours change nothing.
    """
    if pooling == "cls":
        return hidden[starts[:-1].long()]
    if pooling == "last":
        return hidden[starts[1:].long() - 1]
    reduce = REDUCTIONS[pooling]
    return torch.stack([reduce(hidden[start:end]) for start, end in itertools.pairwise(starts.tolist())])


def weighted_mean(text: Tensor) -> Tensor:
    """Later tokens count more: token i (from 1) has the weight i."""
    weights = torch.arange(1, len(text) + 1, dtype=text.dtype, device=text.device)
    return (text * weights[:, None]).sum(0) / weights.sum()


REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda text: text.mean(0),
    "max": lambda text: text.amax(0),
    "mean_sqrt_len": lambda text: text.sum(0) / len(text) ** 0.5,
    "weighted_mean": weighted_mean,
}
