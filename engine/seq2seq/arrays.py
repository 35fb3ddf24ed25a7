"""Frozen dataclasses of arrays whose first axis counts sentences: put together, cut, and given more room.

Arrays of three axes are (sentences, hypotheses, room): their last axis is storage and grows with the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

State = TypeVar("State", bound=Any)  # a dataclass instance, all of whose fields are arrays

LEAST_ROOM = 16


def with_room(state: State, needed: int) -> State:
    """The same with room for at least `needed` tokens, growing by half so that it seldom has to."""
    arrays = {field.name: getattr(state, field.name) for field in fields(state)}
    room = max(array.shape[2] for array in arrays.values() if array.ndim == 3)
    more = max(needed, room + room // 2, LEAST_ROOM) - room
    return replace(state, **{n: _padded(array, more) for n, array in arrays.items() if array.ndim == 3})


def joined(one: State, other: State) -> State:
    """The sentences of both."""
    found: dict[str, NDArray[Any]] = {}
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if a.ndim == 3:
            widest = max(a.shape[2], b.shape[2])
            a, b = (_padded(array, widest - array.shape[2]) for array in (a, b))
        found[field.name] = np.concatenate([a, b])
    return replace(one, **found)


def chosen(state: State, sentences: NDArray[Any]) -> State:
    """Some of the sentences, by their numbers or by a mask."""
    return replace(state, **{field.name: getattr(state, field.name)[sentences] for field in fields(state)})


def among(tokens: NDArray[np.int32], wanted: Sequence[int]) -> NDArray[np.bool_]:
    """Which of the tokens are among a few."""
    found: NDArray[np.bool_] = np.zeros(tokens.shape, bool)
    for token in wanted:
        found |= tokens == token
    return found


def _padded(array: NDArray[Any], more: int) -> NDArray[Any]:
    if not more:
        return array
    wider = np.zeros((*array.shape[:2], array.shape[2] + more), array.dtype)
    wider[:, :, : array.shape[2]] = array
    return wider
