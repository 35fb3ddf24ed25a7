"""What travels between the front door and a replica: frames of one byte stream, each of one call."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from engine.errors import PayloadTooLarge

LONGEST = 64 << 20  # bytes of a payload: 256 texts that fill their context, or their embeddings, are longer than 4 MiB
_HEADER = struct.Struct("!IIB")  # bytes of the payload, call, kind


class Kind(IntEnum):
    CHALLENGE = 0  # the first three make sure of each other, see `handshake.py`
    PROOF = 1
    WELCOME = 2
    CALL = 3  # to the replica: what is asked
    CANCEL = 4  # to the replica: nobody waits any more
    ITEM = 5  # to the front door: the next part of the answer
    FAULT = 6  # to the front door: an exception, and the end
    END = 7  # to the front door: nothing more comes


@dataclass(frozen=True, slots=True)
class Frame:
    """`call` is a number that the front door chose; 0 in a handshake."""

    kind: Kind
    call: int = 0
    payload: bytes = b""


class FrameError(Exception):
    """What came is no frame."""


def pack(kind: Kind, call: int = 0, payload: bytes = b"") -> bytes:
    """Raises PayloadTooLarge."""
    if len(payload) > LONGEST:
        raise PayloadTooLarge(f"this takes {len(payload) >> 20} MiB between processes, more than {LONGEST >> 20}")
    return _HEADER.pack(len(payload), call, kind) + payload


class Reader:
    """Frames of a stream that comes in pieces. Payloads are at most `longest` bytes."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now. Raises FrameError; then the stream is of no more use."""
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= _HEADER.size:
                size, call, kind = _HEADER.unpack_from(self._data, at)
                if size > self.longest or kind not in _KINDS:
                    raise FrameError("what came is none of ours")
                if len(self._data) - at < _HEADER.size + size:
                    break
                start = at + _HEADER.size
                at = start + size
                yield Frame(_KINDS[kind], call, bytes(self._data[start:at]))
        finally:
            del self._data[:at]


_KINDS = {kind.value: kind for kind in Kind}
