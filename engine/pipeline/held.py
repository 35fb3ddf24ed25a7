"""How many bytes of tensors a part of a model holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor


def held_bytes(*parts: object) -> int:
    """Of all tensors that can be reached from these; what several share counts once."""
    storages = {}
    for tensor in _tensors(list(parts)):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _tensors(left: list[Any]) -> Iterator[Tensor]:
    seen: set[int] = set()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
        elif not isinstance(one, type | str | bytes | int | float):
            left += vars(one).values() if hasattr(one, "__dict__") else ()
            left += [getattr(one, name) for name in getattr(one, "__slots__", ()) if hasattr(one, name)]
            left += [cell.cell_contents for cell in getattr(one, "__closure__", None) or ()]
