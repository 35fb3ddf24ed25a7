"""Messages as bytes: a header of fixed size, a head in JSON, then the tensors' bytes as they lie in memory.

    magic  kind  tensors  sequence number  head bytes  body bytes  check of all before
    4      1     1        8                4           8           4                    bytes, big-endian

The head is `[kind, meta, [[dtype, shape], ...]]`. Whatever arrives is checked against what was announced, and what was
announced against the limits, before memory is taken for it.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.pipeline.message import Message

MAGIC = b"SLP1"
ALIVE, MESSAGE = 0, 1  # kinds of frames: a sign of life of somebody who has nothing to say, and a message

MAX_TENSORS = 255
MAX_DIMS = 8
MAX_HEAD = 16 << 20
MAX_BODY = 2 << 30

_FIELDS = struct.Struct("!4sBBQIQ")
_CHECK = struct.Struct("!I")
HEADER_BYTES = _FIELDS.size + _CHECK.size
_JSON = json.JSONEncoder(separators=(",", ":"))

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64,
        torch.float32,
        torch.bfloat16,
        torch.float16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class FrameError(ValueError):
    """What arrived is no frame, or not the one that was due; or a message cannot be made into one."""


@dataclass(frozen=True, slots=True)
class Header:
    """Sizes in bytes. An ALIVE frame has neither head nor body, and bears the number of the message that comes next."""

    kind: int
    tensors: int
    number: int
    head_bytes: int
    body_bytes: int

    def pack(self) -> bytes:
        fields = _FIELDS.pack(MAGIC, self.kind, self.tensors, self.number, self.head_bytes, self.body_bytes)
        return fields + _CHECK.pack(zlib.crc32(fields))

    @classmethod
    def unpack(cls, data: bytes, due: int) -> Header:
        """Of `HEADER_BYTES` bytes, of a frame that should have the number `due`. Raises FrameError."""
        fields = data[: _FIELDS.size]
        if _CHECK.unpack_from(data, _FIELDS.size)[0] != zlib.crc32(fields):
            raise FrameError("the header of a frame is damaged")
        magic, kind, tensors, number, head_bytes, body_bytes = _FIELDS.unpack(fields)
        if magic != MAGIC or kind not in (ALIVE, MESSAGE):
            raise FrameError(f"what arrived is no frame of this protocol: {magic!r}, kind {kind}")
        if number != due:
            raise FrameError(f"message {number} arrived where {due} was due")
        if head_bytes > MAX_HEAD or body_bytes > MAX_BODY:
            raise FrameError(f"a frame of {head_bytes} + {body_bytes} bytes is over the limit")
        if kind == ALIVE and (tensors or head_bytes or body_bytes):
            raise FrameError("a sign of life carries something")
        return cls(kind, tensors, number, head_bytes, body_bytes)


def alive(number: int) -> bytes:
    """A sign of life, before the message of this number."""
    return Header(ALIVE, 0, number, 0, 0).pack()


def pack(message: Message, number: int) -> list[bytes | memoryview]:
    """The frame in pieces, of which those of tensors are the tensors' own memory. Raises FrameError for what cannot be
    sent: not on the CPU, of another dtype, not JSON, too large."""
    if len(message.tensors) > MAX_TENSORS:
        raise FrameError(f"{len(message.tensors)} tensors are more than a message may have, {MAX_TENSORS}")
    described = [[_name(tensor), list(tensor.shape)] for tensor in message.tensors]
    try:
        head = _JSON.encode([message.kind, message.meta, described]).encode()
    except (TypeError, ValueError) as error:
        raise FrameError(f"a message holds what JSON cannot: {error}") from None
    bodies = [memory(tensor.detach().contiguous()) for tensor in message.tensors]
    size = sum(map(len, bodies))
    if len(head) > MAX_HEAD or size > MAX_BODY:
        raise FrameError(f"a message of {len(head)} + {size} bytes is over the limit")
    header = Header(MESSAGE, len(bodies), number, len(head), size).pack()
    return [header + head, *(body for body in bodies if len(body))]


def unpack_head(header: Header, head: bytes) -> Message:
    """The message with tensors of memory that is not filled yet; `memory` gives access. Raises FrameError."""
    try:
        kind, meta, described = json.loads(head)
        shapes = [_described(entry) for entry in described]
    except (ValueError, TypeError, RecursionError) as error:
        raise FrameError(f"the head of a message cannot be read: {error}") from None
    if not isinstance(kind, str) or not isinstance(meta, dict):
        raise FrameError("the head of a message has another form")
    if len(shapes) != header.tensors:
        raise FrameError(f"{len(shapes)} tensors are described where {header.tensors} were announced")
    size = sum(math.prod(shape) * dtype.itemsize for dtype, shape in shapes)
    if size != header.body_bytes:
        raise FrameError(f"the tensors described take {size} bytes, {header.body_bytes} were announced")
    return Message(kind, meta, tuple(torch.empty(shape, dtype=dtype) for dtype, shape in shapes))


def memory(tensor: Tensor) -> memoryview:
    """A contiguous tensor's own bytes, whatever its dtype (NumPy knows no bfloat16)."""
    if tensor.numel() == 0:  # its strides may be anything, which no view allows
        return memoryview(bytearray())
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _name(tensor: Tensor) -> str:
    name = _NAMES.get(tensor.dtype)
    if name is None or tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.dim() > MAX_DIMS:
        raise FrameError(
            f"a {tensor.dtype} tensor of {tensor.dim()} dimensions on {tensor.device} cannot be sent: move it to the "
            f"CPU, as one of {', '.join(DTYPES)}"
        )
    return name


def _described(entry: Any) -> tuple[torch.dtype, list[int]]:
    name, shape = entry
    dtype = DTYPES.get(name) if isinstance(name, str) else None
    if dtype is None or not isinstance(shape, list) or len(shape) > MAX_DIMS:
        raise FrameError(f"a tensor is described as {entry!r}")
    if not all(type(length) is int and 0 <= length <= MAX_BODY for length in shape):
        raise FrameError(f"a tensor has the shape {shape!r}")
    return dtype, shape
