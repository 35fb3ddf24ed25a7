"""Choices of next tokens on their way to the last stage: JSON's kind of data, and tensors for what may be many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.request import SamplingParams
from engine.seq2seq.choice import Choice, Draw
from engine.seq2seq.restrict import Penalty, Restricted

DRAWN_BY = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "seed")


def choices_to(choices: Sequence[Choice]) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """The tensors, of all choices together: places (N, 2) int64, then what penalties have seen, (n,) int32."""
    places = [choice.restricted.places for choice in choices]
    seen = [penalty.seen.reshape(-1) for choice in choices for penalty in choice.restricted.penalties]
    arrays = [np.concatenate(places), np.concatenate(seen) if seen else np.zeros(0, np.int32)]
    return [_to(choice) for choice in choices], [torch.from_numpy(array) for array in arrays]


def choices_from(found: Sequence[dict[str, Any]], tensors: Sequence[Tensor]) -> list[Choice]:
    """The choices that `choices_to` was given."""
    left = [tensor.numpy() for tensor in tensors]
    return [_from(one, left) for one in found]


def _to(choice: Choice) -> dict[str, Any]:
    restricted = choice.restricted
    return {
        "rows": choice.rows,
        "count": choice.count,
        "normalized": restricted.normalized,
        "places": len(restricted.places),
        "penalties": [[penalty.row, penalty.factor, *penalty.seen.shape] for penalty in restricted.penalties],
        "columns": list(restricted.columns),
        "forced": [list(one) for one in restricted.forced],
        "draws": [[draw.position, *(getattr(draw.params, name) for name in DRAWN_BY)] for draw in choice.draws],
    }


def _from(found: dict[str, Any], left: list[NDArray[Any]]) -> Choice:
    """Takes its part off the arrays that are left."""
    penalties = []
    for row, factor, rows, count in found["penalties"]:
        penalties.append(Penalty(row, factor, left[1][: rows * count].reshape(rows, count)))
        left[1] = left[1][rows * count :]
    places, left[0] = left[0][: found["places"]], left[0][found["places"] :]
    restricted = Restricted(
        places=places,
        normalized=found["normalized"],
        penalties=tuple(penalties),
        columns=tuple(found["columns"]),
        forced=tuple((first, last, token) for first, last, token in found["forced"]),
    )
    draws = tuple(
        Draw(SamplingParams(**dict(zip(DRAWN_BY, values, strict=True))), position)
        for position, *values in found["draws"]
    )
    return Choice(found["rows"], found["count"], restricted, draws)
