"""Weights whose headers lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from deployments.attacks.case import Case
from engine.checkpoint.safetensors import SafetensorsFile

FILE = "model.safetensors"


def written(folder: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    """A file with this header (JSON, or bytes as they are), which may claim another `length`."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / FILE
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)
    return path


def tensor(dtype: str = "F32", shape: Any = (2, 2), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def _opens(header: Any, data: bytes = bytes(16), length: int | None = None) -> Callable[[Path], None]:
    """Writes it, opens it, and reads every tensor."""

    def act(folder: Path) -> None:
        read_all(written(folder, header, data, length=length))

    return act


def read_all(path: Path) -> None:
    file = SafetensorsFile(path)
    try:
        for name in file.names():
            file.read(name, torch.float32)
    finally:
        file.close()


def _many(count: int) -> bytes:
    entries = (f'"{number}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for number in range(count))
    return b"{" + ",".join(entries).encode() + b"}"


def _empty(size: int) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        path = folder / FILE
        path.write_bytes(bytes(size))
        read_all(path)

    return act


CASES = (
    Case("a sound file", _opens({"a": tensor()}), refused=()),
    Case("an empty file", _empty(0)),
    Case("three bytes", _empty(3)),
    Case("a header of no bytes", _opens(b"")),
    Case("a header of 8 EiB, as it claims", _opens({"a": tensor()}, length=1 << 63)),
    Case("a header of 99 MB in 90 bytes", _opens({"a": tensor()}, length=99_000_000)),
    Case("a header of 90 MB of brackets", _opens(b"[" * 90_000_000), most_mib=512),
    Case("a header nested 10 million deep", _opens(b'{"a":' * 10_000_000), most_mib=512),
    Case("a header of 90 MB of spaces", _opens(b" " * 90_000_000), most_mib=512),
    Case("a header that is no UTF-8", _opens(b'{"\xff\xfe":1}')),
    Case("a header that is a list", _opens([])),
    Case("a header with NaN for a size", _opens(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}}')),
    Case("a number of a million digits", _opens(b'{"a":{"dtype":"F32","shape":[' + b"9" * 1_000_000 + b"]}}")),
    Case("the same tensor twice", _opens(b'{"a":{},"a":{}}')),
    Case("1.5 million empty tensors", _opens(_many(1_500_000), b""), most_mib=1024),
    Case("an entry that is no object", _opens({"a": [1]})),
    Case("an unknown type", _opens({"a": tensor("F128")})),
    Case("a type that is a list", _opens({"a": {**tensor(), "dtype": ["F32"]}})),
    Case("a type too large for its bytes", _opens({"a": tensor("F64")})),
    Case("a shape too large for its bytes", _opens({"a": tensor(shape=[4, 4])})),
    Case("a shape whose product overflows", _opens({"a": tensor(shape=[1 << 61, 1 << 61])})),
    Case("a shape of zeros and giants", _opens({"a": tensor(shape=[0, 1 << 61], offsets=[0, 0])}, b""), refused=()),
    Case("a negative size", _opens({"a": tensor(shape=[-2, -2])})),
    Case("sizes that are true", _opens({"a": tensor(shape=[True, True])})),
    Case("sizes that are fractions", _opens({"a": tensor(shape=[2.0, 2.0])})),
    Case("negative offsets", _opens({"a": tensor(offsets=[-16, 0])})),
    Case("offsets the wrong way round", _opens({"a": tensor(offsets=[16, 0])})),
    Case("offsets beyond the file", _opens({"a": tensor(offsets=[1 << 40, (1 << 40) + 16])})),
    Case("one offset", _opens({"a": tensor(offsets=[0])})),
    Case("two tensors in the same bytes", _opens({"a": tensor(), "b": tensor()})),
    Case("two that overlap by half", _opens({"a": tensor(), "b": tensor(offsets=[8, 24])}, bytes(24))),
    Case("a gap between two", _opens({"a": tensor(), "b": tensor(offsets=[20, 36])}, bytes(36))),
    Case("bytes behind the last", _opens({"a": tensor()}, bytes(32))),
    Case("a file that ends too early", _opens({"a": tensor()}, bytes(8))),
)
