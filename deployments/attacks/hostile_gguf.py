"""GGUF files whose headers lie."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from deployments.attacks.case import Case
from engine.checkpoint.gguf import GGUFCheckpoint

UINT8, UINT32, STRING, ARRAY, UINT64 = 0, 4, 8, 9, 10
_HUGE = 1 << 60


def text(value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: bytes | str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, items: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + items


def entry(name: str, shape: Sequence[int], kind: int = 0, offset: int = 0, dimensions: int | None = None) -> bytes:
    sizes = b"".join(struct.pack("<Q", size) for size in shape)
    count = len(shape) if dimensions is None else dimensions
    return text(name) + struct.pack("<I", count) + sizes + struct.pack("<IQ", kind, offset)


def head(keys: Sequence[bytes] = (), entries: Sequence[bytes] = (), *, n_keys: int = -1, n_tensors: int = -1) -> bytes:
    """A whole head, with its own counts unless others are claimed."""
    counts = struct.pack("<QQ", len(entries) if n_tensors < 0 else n_tensors, len(keys) if n_keys < 0 else n_keys)
    return b"GGUF" + struct.pack("<I", 3) + counts + b"".join(keys) + b"".join(entries)


NAMED = key("general.architecture", STRING, text("llama"))


def _opens(content: bytes, holes: int = 0) -> Callable[[Path], None]:
    """Writes the file, with so many bytes of holes behind it, and opens it."""

    def act(folder: Path) -> None:
        path = folder / "model.gguf"
        path.write_bytes(content)
        if holes:
            with path.open("r+b") as file:
                file.truncate(len(content) + holes)
        GGUFCheckpoint(path).close()

    return act


def _alike(name: str, value: int) -> bytes:
    return key(name, UINT32, struct.pack("<I", value))


SHAPE = (
    NAMED,
    *(
        _alike(f"llama.{name}", value)
        for name, value in (
            ("block_count", 1),
            ("embedding_length", 32),
            ("feed_forward_length", 32),
            ("context_length", 64),
            ("attention.head_count", 4),
        )
    ),
)

CASES = (
    Case("an empty file", _opens(b"")),
    Case("another kind of file", _opens(b"PK\x03\x04" + bytes(64))),
    Case("version 4 billion", _opens(b"GGUF" + b"\xff" * 60)),
    Case("2^60 keys", _opens(head([NAMED], n_keys=_HUGE))),
    Case("2^60 tensors", _opens(head([NAMED], n_tensors=_HUGE))),
    Case("30 million keys in a file of holes", _opens(head(n_keys=30_000_000), holes=1 << 30)),
    Case("30 million tensors in a file of holes", _opens(head(n_tensors=30_000_000), holes=1 << 30)),
    Case("a key's name of 2^60 bytes", _opens(head([struct.pack("<Q", _HUGE)], n_keys=1))),
    Case("a text of 8 GiB in a file of holes", _opens(head([key("a", STRING, struct.pack("<Q", 8 << 30))]), 9 << 30)),
    Case("a text that is no UTF-8", _opens(head([key("a", STRING, text(b"\xff\xfe"))]))),
    Case("an unknown type of value", _opens(head([key("a", 99, b"")]))),
    Case("an array of 2^60 bytes", _opens(head([key("a", ARRAY, array(UINT8, _HUGE))]))),
    Case("an array of 2^60 texts", _opens(head([key("a", ARRAY, array(STRING, _HUGE))]))),
    Case("an array of 2 billion in a file of holes", _opens(head([key("a", ARRAY, array(UINT8, 2 << 30))]), 3 << 30)),
    Case("200 million texts in a file of holes", _opens(head([key("a", ARRAY, array(STRING, 200 << 20))]), 3 << 30)),
    Case("an array of arrays", _opens(head([key("a", ARRAY, array(ARRAY, 1))]))),
    Case("the same key twice", _opens(head([NAMED, NAMED]))),
    Case("an alignment of 2^63", _opens(head([NAMED, key("general.alignment", UINT64, struct.pack("<Q", 1 << 63))]))),
    Case("an alignment of 0", _opens(head([NAMED, _alike("general.alignment", 0)]))),
    Case("an alignment of 48", _opens(head([NAMED, _alike("general.alignment", 48)]))),
    Case("a tensor of 4 billion dimensions", _opens(head([NAMED], [entry("a", [1], dimensions=0xFFFFFFFF)]))),
    Case("a tensor of no dimension", _opens(head([NAMED], [entry("a", [])]))),
    Case("a tensor whose size overflows", _opens(head([NAMED], [entry("a", [1 << 40, 1 << 40])]))),
    Case("a tensor beyond the file", _opens(head([NAMED], [entry("a", [4], offset=1 << 40)]))),
    Case("a tensor of an unknown type", _opens(head([NAMED], [entry("a", [4], kind=77)]))),
    Case("a tensor that is not aligned", _opens(head([NAMED], [entry("a", [4], offset=7)]))),
    Case("two tensors in the same bytes", _opens(head([NAMED], [entry("a", [8]), entry("b", [8])]) + bytes(256))),
    Case("the same tensor twice", _opens(head([NAMED], [entry("a", [8]), entry("a", [8])]) + bytes(256))),
    Case("no architecture", _opens(head())),
    Case("an unknown architecture", _opens(head([key("general.architecture", STRING, text("../../etc"))]))),
    Case("an architecture that is a number", _opens(head([_alike("general.architecture", 7)]))),
    Case("no whole model", _opens(head(SHAPE))),
    Case("a head count of 0", _opens(head([*SHAPE[:-1], _alike("llama.attention.head_count", 0)],
                                          [entry("token_embd.weight", [32, 8])]) + bytes(4096))),
)  # fmt: skip
