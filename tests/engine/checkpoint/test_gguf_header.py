"""GGUF files that were cut or damaged, or that lie about their size."""

from __future__ import annotations

import contextlib
import functools
import struct
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.checkpoint import open_checkpoint
from engine.checkpoint.gguf_header import read_header
from engine.checkpoint.memory_map import MemoryMap
from engine.errors import CheckpointError


@functools.cache
def sound() -> bytes:
    """A small whole file: one layer's query projection and an embedding, a tokenizer, values of every kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        for key, value in (
            ("context_length", 16),
            ("embedding_length", 32),
            ("feed_forward_length", 32),
            ("block_count", 1),
            ("attention.head_count", 2),
        ):
            writer.add_uint32(f"llama.{key}", value)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(["a", "b", "ab", "<s>"])
        writer.add_token_types([1, 1, 1, 3])
        writer.add_token_merges(["a b"])
        writer.add_bos_token_id(3)
        writer.add_bool("some.flag", True)
        writer.add_float64("some.double", 0.5)
        writer.add_int8("some.small", -3)
        writer.add_array("some.numbers", [1.5, 2.5])
        weight = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor("token_embd.weight", weight)
        writer.add_tensor("blk.0.attn_q.weight", gguf.quantize(weight, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def header_of(data: bytes, path: Path) -> Any:
    path.write_bytes(data)
    file = MemoryMap(path)
    try:
        return read_header(file)
    finally:
        file.close()


def test_equals_the_reader_of_the_gguf_package(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    header = header_of(sound(), path)
    reader = gguf.GGUFReader(path)
    theirs = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert header.metadata == theirs
    for tensor in reader.tensors:
        info = header.tensors[tensor.name]
        assert (info.start, info.stop) == (tensor.data_offset, tensor.data_offset + tensor.n_bytes)
        assert list(info.shape) == tensor.shape.tolist()[::-1]
        assert info.kind == tensor.tensor_type


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"GGML", "no GGUF file"),
        (0, b"PK\3\4", "no GGUF file"),
        (4, struct.pack("<I", 1), "version 1"),
        (4, struct.pack(">I", 3), "big-endian"),
        (8, struct.pack("<Q", 2**62), "claims"),
        (16, struct.pack("<Q", 2**63), "claims"),
        (16, struct.pack("<Q", 1), "sound"),
        (24, struct.pack("<Q", 2**60), "truncated"),
    ],
)
def test_damaged_beginnings(tmp_path: Path, at: int, value: bytes, message: str) -> None:
    data = sound()[:at] + value + sound()[at + len(value) :]
    with pytest.raises(CheckpointError, match=message):
        header_of(data, tmp_path / "x.gguf")


def entry(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return struct.pack("<Q", len(name)) + name + dimensions + struct.pack("<IQ", kind, offset)


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def file_with(keys: list[bytes], entries: list[bytes], data: int = 64) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(keys)) + b"".join(keys) + b"".join(entries)
    return head + bytes(-len(head) % 32 + data)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry(b"a", (16,), 0, 32)], "ends beyond the end"),
        ([entry(b"a", (8,), 0, 7)], "not aligned"),
        ([entry(b"a", (2**40, 2**40), 0, 0)], "impossible shape"),
        ([entry(b"a", (0,), 0, 0)], "impossible shape"),
        ([entry(b"a", (), 0, 0)], "0 dimensions"),
        ([entry(b"a", (1,) * 5, 0, 0)], "5 dimensions"),
        ([entry(b"a", (8,), 999, 0)], "unknown type 999"),
        ([entry(b"a", (8,), 8, 0)], "no whole number of Q8_0 blocks"),
        ([entry(b"a", (8,), 0, 0), entry(b"a", (8,), 0, 32)], "twice"),
        ([entry(b"a", (16,), 0, 0), entry(b"b", (8,), 0, 32)], "overlaps"),
        ([entry(b"\xff", (8,), 0, 0)], "no UTF-8"),
    ],
)
def test_lying_tensor_tables(tmp_path: Path, entries: list[bytes], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        header_of(file_with([], entries), tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([string("k") + struct.pack("<I", 99)], "unknown value type 99"),
        ([string("k") + struct.pack("<IIQ", 9, 8, 2**40)], "strings claimed"),
        ([string("k") + struct.pack("<IIQ", 9, 0, 2**40)], "truncated"),
        ([string("k") + struct.pack("<IIQ", 9, 9, 1)], "arrays within arrays"),
        ([string("k") + struct.pack("<IB", 0, 1)] * 2, "appears twice"),
        ([string("general.alignment") + struct.pack("<II", 4, 24)], "power of two"),
        ([string("general.alignment") + struct.pack("<II", 4, 0)], "power of two"),
    ],
)
def test_lying_metadata(tmp_path: Path, keys: list[bytes], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        header_of(file_with(keys, []), tmp_path / "x.gguf")


def test_types_that_cannot_be_dequantized(tmp_path: Path) -> None:
    key = string("general.architecture") + struct.pack("<I", 8) + string("llama")
    kind = gguf.GGMLQuantizationType.Q8_K
    (tmp_path / "x.gguf").write_bytes(file_with([key], [entry(b"token_embd.weight", (256,), kind, 0)], data=512))
    with pytest.raises(CheckpointError, match="Q8_K tensors"):
        open_checkpoint(tmp_path / "x.gguf")


def use(data: bytes) -> None:
    """Open a file and read everything in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gguf"
        path.write_bytes(data)
        with open_checkpoint(path) as checkpoint:
            for name in checkpoint.names():
                assert checkpoint.tensor(name, torch.float32).shape == checkpoint.shape(name)
            checkpoint.tokenizer().encode("ab")


def test_the_sound_file_is_sound() -> None:
    use(sound())


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_every_truncation_is_noticed(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(sound()) - 33))  # the last bytes may be padding
    with pytest.raises(CheckpointError):
        use(sound()[:size])


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damage_is_noticed_or_harmless(data: st.DataObject) -> None:
    head = len(sound()) - 32 * 32 * 5
    changes = data.draw(st.lists(st.tuples(st.integers(0, head), st.integers(0, 255)), min_size=1, max_size=4))
    damaged = bytearray(sound())
    for at, value in changes:
        damaged[at] = value
    with contextlib.suppress(CheckpointError), np.errstate(all="ignore"):
        use(bytes(damaged))
