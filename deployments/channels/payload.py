"""Requests and answers as bytes: pickled, since Python has nothing faster for dataclasses, but only data comes back.

A pickle can name any function to call. Ours may name dataclasses, enums and errors of this project, and the errors
that Python itself has; for anything else `loads` raises. Arrays of numbers go as their type, shape and bytes: numpy's
own way would let a pickle make an array of objects out of any bytes, which would be taken for addresses in memory.
"""

from __future__ import annotations

import dataclasses
import enum
import io
import math
import pickle
from typing import Any

import numpy as np

from engine import errors

_OURS = ("engine", "deployments")
_FUNCTIONS = frozenset({("engine.errors", errors._rebuild.__name__), (__name__, "_array")})
_NUMBERS = {
    np.dtype(kind).str: np.dtype(kind)
    for kind in (
        *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
        *(np.float16, np.float32, np.float64),
    )
}


class _Sample(enum.Enum):
    ONE = 1


# Early releases of Python 3.11 (Debian 12 has one) write `getattr(kind, name)` for a member, which may name anything.
_ENUMS_BY_NAME = _Sample.ONE.__reduce_ex__(pickle.HIGHEST_PROTOCOL)[0] is getattr


def dumps(value: object) -> bytes:
    """Raises pickle.PicklingError for an array of anything but numbers, and what pickle raises."""
    found = io.BytesIO()
    (_EnumsByValue if _ENUMS_BY_NAME else _Pickler)(found, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return found.getvalue()


def loads(data: bytes) -> Any:
    """Raises pickle.UnpicklingError for what is no data of ours."""
    return _Unpickler(io.BytesIO(data)).load()


def _parts(array: np.ndarray) -> tuple[Any, ...]:
    if array.dtype.str not in _NUMBERS:
        raise pickle.PicklingError(f"an array of {array.dtype} cannot be sent: make it one of {', '.join(_NUMBERS)}")
    # A buffer is written as it lies in memory, without a copy before.
    return _array, (array.dtype.str, array.shape, pickle.PickleBuffer(np.ascontiguousarray(array).data))


def _array(kind: str, shape: tuple[int, ...], data: bytes | bytearray) -> np.ndarray:
    """What `_parts` took apart, from whoever. Raises pickle.UnpicklingError."""
    dtype = _NUMBERS.get(kind) if type(kind) is str else None
    if dtype is None:
        raise pickle.UnpicklingError("an array is of no type of numbers")
    if type(shape) is not tuple or not all(type(length) is int and length >= 0 for length in shape):
        raise pickle.UnpicklingError("an array cannot have such a shape")
    if type(data) not in (bytes, bytearray) or math.prod(shape) * dtype.itemsize != len(data):
        raise pickle.UnpicklingError("an array has other bytes than its type and shape take")
    try:
        return np.frombuffer(data, dtype).reshape(shape)
    except (ValueError, OverflowError) as error:  # more dimensions than numpy knows, or longer ones around a 0
        raise pickle.UnpicklingError(f"an array cannot have such a shape: {error}") from None


class _Pickler(pickle.Pickler):
    dispatch_table = {np.ndarray: _parts}  # noqa: RUF012 - as pickle wants it


class _EnumsByValue(_Pickler):
    """Has enums looked up by their values."""

    def reducer_override(self, value: Any) -> Any:
        return (type(value), (value.value,)) if isinstance(value, enum.Enum) else NotImplemented


class _Unpickler(pickle.Unpickler):
    known: dict[tuple[str, str], Any] = {}  # noqa: RUF012 - shared on purpose: names that were looked up before

    def find_class(self, module: str, name: str) -> Any:
        key = module, name
        if key not in self.known:
            self.known[key] = self._look_up(module, name)
        return self.known[key]

    def _look_up(self, module: str, name: str) -> Any:
        if (module, name) in _FUNCTIONS:
            return super().find_class(module, name)
        if "." not in name and (module == "builtins" or module.split(".")[0] in _OURS):
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module and _is_data(found):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no data")


def _is_data(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, (enum.Enum, Exception))
