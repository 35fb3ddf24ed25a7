"""Choices of next tokens on their way to the last stage: JSON's kind of data, and tensors for what may be many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.request import SamplingParams
from engine.seq2seq.choice import Choice, Draw
from engine.seq2seq.restrict import Penalty, Restricted

DRAWN_BY = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "seed")


def choices_to(choices: Sequence[Choice]) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """The tensors of a choice: its places (N, 2) int64, then what each penalty has seen (rows, n) int32."""
    tensors: list[Tensor] = []
    for choice in choices:
        tensors.append(torch.from_numpy(choice.restricted.places))
        tensors += [torch.from_numpy(penalty.seen) for penalty in choice.restricted.penalties]
    return [_to(choice) for choice in choices], tensors


def choices_from(found: Sequence[dict[str, Any]], tensors: Sequence[Tensor]) -> list[Choice]:
    """The choices that `choices_to` was given."""
    left = iter(tensors)
    return [_from(one, left) for one in found]


def _to(choice: Choice) -> dict[str, Any]:
    restricted = choice.restricted
    return {
        "rows": choice.rows,
        "count": choice.count,
        "normalized": restricted.normalized,
        "penalties": [[penalty.row, penalty.factor] for penalty in restricted.penalties],
        "columns": list(restricted.columns),
        "forced": [list(one) for one in restricted.forced],
        "draws": [[draw.position, *(getattr(draw.params, name) for name in DRAWN_BY)] for draw in choice.draws],
    }


def _from(found: dict[str, Any], tensors: Iterator[Tensor]) -> Choice:
    restricted = Restricted(
        places=next(tensors).numpy(),
        normalized=found["normalized"],
        penalties=tuple(Penalty(row, factor, next(tensors).numpy()) for row, factor in found["penalties"]),
        columns=tuple(found["columns"]),
        forced=tuple((first, last, token) for first, last, token in found["forced"]),
    )
    draws = tuple(
        Draw(SamplingParams(**dict(zip(DRAWN_BY, values, strict=True))), position)
        for position, *values in found["draws"]
    )
    return Choice(found["rows"], found["count"], restricted, draws)
