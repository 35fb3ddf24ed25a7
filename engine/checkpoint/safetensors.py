"""The safetensors format: eight bytes of header length, a JSON header, then the tensors' bytes.

A header is believed only after every size and offset in it has been checked against the file.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch

from engine.checkpoint.memory_map import MemoryMap, copy_plain
from engine.errors import CheckpointError

# The format itself allows 100 MB, which as Python's objects are a gigabyte and take half a minute. The headers of large
# models have some MB a file.
_MAX_HEADER_BYTES = 16 << 20

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True)
class _Entry:
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int  # bytes from the start of the file


class SafetensorsFile:
    """One .safetensors file, memory-mapped, its header checked. Raises `CheckpointError`."""

    def __init__(self, path: Path) -> None:
        self._file = MemoryMap(path)
        try:
            self._entries = _read_header(self._file)
        except CheckpointError:
            self._file.close()
            raise

    def names(self) -> frozenset[str]:
        return frozenset(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name].shape

    def dtype(self, name: str) -> torch.dtype:
        """As which it is stored."""
        return self._entries[name].dtype

    def read(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        entry = self._entries[name]
        out = torch.empty(entry.shape, dtype=dtype)
        copy_plain(self._file, entry.start, entry.dtype, out)
        return out

    def close(self) -> None:
        self._file.close()


def _read_header(file: MemoryMap) -> dict[str, _Entry]:
    def broken(what: str) -> CheckpointError:
        return CheckpointError(f"{file.path} is not a sound safetensors file: {what}. Fetch it again.")

    if file.size < 8:
        raise broken(f"it has only {file.size} bytes")
    length = int.from_bytes(file.buffer[:8], "little")
    if length > file.size - 8:
        raise broken(f"its header claims {length} bytes, the file has {file.size} (is it truncated?)")
    if length > _MAX_HEADER_BYTES:
        raise broken(f"its header has {length} bytes, more than the {_MAX_HEADER_BYTES} that are read")
    try:
        header = json.loads(file.buffer[8 : 8 + length].decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise broken(f"its header is no valid JSON ({error})") from None
    if not isinstance(header, dict):
        raise broken("its header is no JSON object")
    header.pop("__metadata__", None)

    data_start = 8 + length
    entries: dict[str, _Entry] = {}
    spans: list[tuple[int, int, str]] = []
    for name, info in header.items():
        dtype, shape, first, last = _read_entry(name, info, broken)
        if last > file.size - data_start:
            raise broken(f"tensor {name!r} ends beyond the end of the file (is it truncated?)")
        if last - first != math.prod(shape) * dtype.itemsize:
            raise broken(f"tensor {name!r} of shape {list(shape)} does not fill its {last - first} bytes")
        entries[name] = _Entry(dtype, shape, data_start + first)
        spans.append((first, last, name))

    end = 0
    for first, last, name in sorted(spans):
        if first != end:
            raise broken(f"tensor {name!r} overlaps another one" if first < end else f"a gap before tensor {name!r}")
        end = last
    if end != file.size - data_start:
        raise broken(f"{file.size - data_start - end} bytes behind the last tensor")
    file.release(0, data_start)
    return entries


def _read_entry(name: str, info: Any, broken: Any) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    if not isinstance(info, dict):
        raise broken(f"the entry of tensor {name!r} is no object")
    dtype = _DTYPES.get(info["dtype"]) if isinstance(info.get("dtype"), str) else None
    if dtype is None:
        raise broken(f"tensor {name!r} has the unknown type {info.get('dtype')!r} (known: {', '.join(_DTYPES)})")
    shape, offsets = info.get("shape"), info.get("data_offsets")
    if not _is_sizes(shape):
        raise broken(f"tensor {name!r} has no valid shape")
    if not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise broken(f"tensor {name!r} has no valid offsets")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 62 for item in value)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found
