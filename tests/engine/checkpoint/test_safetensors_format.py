"""Headers that lie, and files that were cut or damaged."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from engine.checkpoint.safetensors import SafetensorsFile
from engine.errors import CheckpointError

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(path: Path, header: Any, data: bytes = b"\0" * 8, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": F32 | {"data_offsets": [0, 9]}}, "beyond the end"),
        ({"a": F32 | {"data_offsets": [8, 0]}}, "no valid offsets"),
        ({"a": F32 | {"data_offsets": [-8, 0]}}, "no valid offsets"),
        ({"a": F32 | {"data_offsets": [0]}}, "no valid offsets"),
        ({"a": F32 | {"data_offsets": [0, 4]}}, "does not fill"),
        ({"a": F32 | {"shape": [3]}}, "does not fill"),
        ({"a": F32 | {"shape": [2**61, 2**61, 0]}}, "does not fill"),
        ({"a": F32 | {"shape": [-2]}}, "no valid shape"),
        ({"a": F32 | {"shape": [True, 2]}}, "no valid shape"),
        ({"a": F32 | {"shape": 2}}, "no valid shape"),
        ({"a": F32 | {"dtype": "F31"}}, "unknown type 'F31'"),
        ({"a": F32 | {"dtype": ["F32"]}}, "unknown type"),
        ({"a": 1}, "no object"),
        ({"a": F32, "b": F32}, "overlaps"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "a gap before"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "4 bytes behind the last"),
        ([], "no JSON object"),
        (b"{", "no valid JSON"),
        (b"\xff", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b'{"a":' + json.dumps(F32).encode() + b',"a":' + json.dumps(F32).encode() + b"}", "twice"),
    ],
)
def test_lying_headers(tmp_path: Path, header: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        SafetensorsFile(write(tmp_path / "x.safetensors", header))


@pytest.mark.parametrize("length", [2**63, 100_000_001, 1000])
def test_header_length_beyond_the_file(tmp_path: Path, length: int) -> None:
    with pytest.raises(CheckpointError, match="header claims"):
        SafetensorsFile(write(tmp_path / "x.safetensors", {"a": F32}, length=length))


def test_empty_and_tiny_files(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        SafetensorsFile(path)
    path.write_bytes(b"1234")
    with pytest.raises(CheckpointError, match="only 4 bytes"):
        SafetensorsFile(path)


def test_metadata_is_passed_over(tmp_path: Path) -> None:
    file = SafetensorsFile(write(tmp_path / "x.safetensors", {"__metadata__": {"format": "pt"}, "a": F32}))
    assert file.names() == {"a"}


SOUND = save({"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)})


@settings(deadline=None, max_examples=150)
@given(st.integers(0, len(SOUND) - 1))
def test_every_truncation_is_noticed(size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(SOUND[:size])
        with pytest.raises(CheckpointError):
            SafetensorsFile(path)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_is_noticed_or_harmless(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SOUND)
    for at, value in changes:
        data[at] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(data)
        try:
            file = SafetensorsFile(path)
        except CheckpointError:
            return
        for name in file.names():
            assert file.read(name, torch.float32).shape == file.shape(name)
        file.close()
