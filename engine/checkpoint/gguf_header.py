"""The head of a GGUF file: metadata and the table of tensors, every count and offset checked against the file.

The `gguf` package supplies the constants. Its own reader is not used: it makes an array object per string, which
takes seconds for a large vocabulary, and it believes the file.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from engine.checkpoint.memory_map import MemoryMap
from engine.errors import CheckpointError

_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_MAX_DIMENSIONS = 4
# Far more than any vocabulary needs. A file of holes can claim gigabytes of either, and weighs nothing.
_MAX_HEAD_BYTES = 256 << 20
_MAX_ITEMS = 8 << 20  # of all arrays together

_SCALARS = {
    GGUFValueType.UINT8: "<B",
    GGUFValueType.INT8: "<b",
    GGUFValueType.UINT16: "<H",
    GGUFValueType.INT16: "<h",
    GGUFValueType.UINT32: "<I",
    GGUFValueType.INT32: "<i",
    GGUFValueType.FLOAT32: "<f",
    GGUFValueType.BOOL: "<?",
    GGUFValueType.UINT64: "<Q",
    GGUFValueType.INT64: "<q",
    GGUFValueType.FLOAT64: "<d",
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: its shape as torch has it (rows first), how it is stored, where its bytes lie in the file."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    start: int
    stop: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, that is of the last dimension."""
        block, size = GGML_QUANT_SIZES[self.kind]
        return self.shape[-1] // block * size


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """Metadata by key, and tensors by their names in the file."""

    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]


def read_header(file: MemoryMap) -> GGUFHeader:
    """Raises `CheckpointError` if the file is no GGUF file, is damaged or truncated."""
    cursor = _Cursor(file)
    _check_version(cursor)
    n_tensors, n_keys = cursor.scalar("<Q"), cursor.scalar("<Q")
    # The smallest key and tensor entries take 13 and 32 bytes.
    if n_keys * 13 + n_tensors * 32 > file.size:
        raise cursor.broken(f"it claims {n_keys} keys and {n_tensors} tensors in {file.size} bytes (is it truncated?)")

    metadata: dict[str, Any] = {}
    for _ in range(n_keys):
        key = cursor.string()
        if key in metadata:
            raise cursor.broken(f"key {key!r} appears twice")
        metadata[key] = cursor.value(cursor.scalar("<I"))

    entries = [_read_entry(cursor) for _ in range(n_tensors)]
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise cursor.broken(f"its alignment is {alignment!r}, not a power of two")
    data_start = -(-cursor.at // alignment) * alignment

    tensors: dict[str, TensorInfo] = {}
    for name, shape, kind, offset in entries:
        if name in tensors:
            raise cursor.broken(f"tensor {name!r} appears twice")
        if offset % alignment:
            raise cursor.broken(f"tensor {name!r} is not aligned")
        block, size = GGML_QUANT_SIZES[kind]
        start = data_start + offset
        tensors[name] = TensorInfo(name, shape, kind, start, start + math.prod(shape) // block * size)
    _check_spans(cursor, tensors)
    file.release(0, cursor.at)
    return GGUFHeader(metadata, tensors)


def _check_version(cursor: _Cursor) -> None:
    if cursor.file.size < 24 or cursor.take(4) != b"GGUF":
        raise CheckpointError(f"{cursor.file.path} is no GGUF file. Give a Hugging Face folder or a .gguf file.")
    version = cursor.scalar("<I")
    if version in _VERSIONS:
        return
    if int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS:
        raise CheckpointError(f"{cursor.file.path} is a big-endian GGUF file. Convert it with gguf-convert-endian.")
    raise CheckpointError(f"{cursor.file.path} is GGUF version {version}; versions 2 and 3 can be read.")


def _read_entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
    name = cursor.string()
    n_dimensions = cursor.scalar("<I")
    if not 1 <= n_dimensions <= _MAX_DIMENSIONS:
        raise cursor.broken(f"tensor {name!r} has {n_dimensions} dimensions")
    shape = tuple(cursor.scalar("<Q") for _ in range(n_dimensions))[::-1]
    if min(shape) < 1 or math.prod(shape) >= 1 << 62:
        raise cursor.broken(f"tensor {name!r} has the impossible shape {list(shape)}")
    number, offset = cursor.scalar("<I"), cursor.scalar("<Q")
    try:
        kind = GGMLQuantizationType(number)
    except ValueError:
        raise cursor.broken(f"tensor {name!r} has the unknown type {number}; a newer `gguf` may know it") from None
    if shape[-1] % GGML_QUANT_SIZES[kind][0]:
        raise cursor.broken(f"tensor {name!r} has rows of {shape[-1]} values, no whole number of {kind.name} blocks")
    return name, shape, kind, offset


def _check_spans(cursor: _Cursor, tensors: dict[str, TensorInfo]) -> None:
    end = 0
    for info in sorted(tensors.values(), key=lambda info: info.start):
        if info.stop > cursor.file.size:
            raise cursor.broken(f"tensor {info.name!r} ends beyond the end of the file (is it truncated?)")
        if info.start < end:
            raise cursor.broken(f"tensor {info.name!r} overlaps another one")
        end = info.stop


class _Cursor:
    """Reads values one after another, never beyond the end of the file."""

    def __init__(self, file: MemoryMap) -> None:
        self.file = file
        self.at = 0
        self._end = min(file.size, _MAX_HEAD_BYTES)
        self._items_left = _MAX_ITEMS

    def broken(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.file.path} is not a sound GGUF file: {what}. Fetch it again.")

    def take(self, size: int) -> bytes:
        start = self.at
        if size > self.file.size - start:
            raise self.broken(f"{size} bytes expected at byte {start} of {self.file.size} (is it truncated?)")
        if size > self._end - start:
            raise self.broken(f"its head is longer than the {_MAX_HEAD_BYTES} bytes that are read of it")
        self.at = start + size
        return self.file.buffer[start : self.at]

    def scalar(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def string(self) -> str:
        size = int.from_bytes(self.take(8), "little")
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise self.broken(f"the string at byte {self.at - size} is no UTF-8") from None

    def strings(self, count: int) -> list[str]:
        """Many: a vocabulary with its merges has a hundred thousand, at each start of a replica."""
        buffer, end, found = self.file.buffer, self._end, []
        for _ in range(count):
            start = self.at + 8
            stop = start + int.from_bytes(buffer[self.at : start], "little")
            try:
                found.append(buffer[start:stop].decode("utf-8") if stop <= end else self.string())
            except UnicodeDecodeError:
                self.string()  # says what is wrong
            self.at = stop
        return found

    def value(self, number: int) -> Any:
        kind = self._kind(number)
        if kind == GGUFValueType.STRING:
            return self.string()
        if kind != GGUFValueType.ARRAY:
            return self.scalar(_SCALARS[kind])
        item, count = self._kind(self.scalar("<I")), self.scalar("<Q")
        if item == GGUFValueType.ARRAY:
            raise self.broken(f"arrays within arrays at byte {self.at}")
        if item == GGUFValueType.STRING:
            if count * 8 > self.file.size - self.at:
                raise self.broken(f"{count} strings claimed at byte {self.at} (is it truncated?)")
            self._count(count)
            return self.strings(count)
        layout = np.dtype(_SCALARS[item])
        if count * layout.itemsize <= self.file.size - self.at:  # else it is truncated
            self._count(count)
        return np.frombuffer(self.take(count * layout.itemsize), layout).tolist()

    def _count(self, items: int) -> None:
        self._items_left -= items
        if self._items_left < 0:
            raise self.broken(f"{items} values claimed at byte {self.at}; {_MAX_ITEMS} are read in all")

    def _kind(self, number: int) -> GGUFValueType:
        try:
            return GGUFValueType(number)
        except ValueError:
            raise self.broken(f"unknown value type {number} at byte {self.at}") from None
