from __future__ import annotations

import json
import math
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cluster.pipeline import frames
from cluster.pipeline.frames import ALIVE, DTYPES, HEADER_BYTES, MESSAGE, FrameError, Header
from engine.pipeline.message import Message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any bits of any dtype and shape, also empty, also strided."""
    dtype = draw(st.sampled_from(list(DTYPES.values())))
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    count = torch.Size(shape).numel()
    if dtype is torch.bool:
        tensor = torch.randint(0, 2, shape, generator=generator).bool()
    else:
        raw = torch.randint(0, 256, (count * dtype.itemsize,), generator=generator, dtype=torch.uint8)
        tensor = raw.view(dtype).reshape(shape)
    return tensor.transpose(0, -1) if tensor.dim() > 1 and draw(st.booleans()) else tensor


@st.composite
def messages(draw: st.DrawFn) -> Message:
    meta = draw(st.dictionaries(st.text(), JSON, max_size=4))
    return Message(draw(st.text(max_size=20)), meta, tuple(draw(st.lists(tensors(), max_size=4))))


def joined(message: Message, number: int = 0) -> bytes:
    return b"".join(frames.pack(message, number))


def unpack(data: bytes, due: int = 0) -> Message:
    """A whole frame, as a receiver reads it."""
    header = Header.unpack(data[:HEADER_BYTES], due)
    at = HEADER_BYTES + header.head_bytes
    message = frames.unpack_head(header, data[HEADER_BYTES:at])
    for tensor in message.tensors:
        target = frames.memory(tensor)
        target[:] = data[at : at + len(target)]
        at += len(target)
    assert at == len(data)
    return message


def bits(tensor: Tensor) -> bytes:
    return bytes(frames.memory(tensor.contiguous()))


def same(one: Message, other: Message) -> bool:
    alike = [(t.dtype, t.shape, bits(t)) for t in one.tensors] == [(t.dtype, t.shape, bits(t)) for t in other.tensors]
    return alike and (one.kind, one.meta) == (other.kind, other.meta)


@settings(max_examples=60, deadline=None)
@given(messages(), st.integers(0, 2**64 - 1))
def test_a_message_comes_out_as_it_went_in(message: Message, number: int) -> None:
    assert same(unpack(joined(message, number), due=number), message)


def test_tensors_are_sent_from_where_they_lie() -> None:
    tensor = torch.zeros(100)
    frame = frames.pack(Message("x", {}, (tensor,)), 0)
    tensor.fill_(1.0)
    assert bytes(frame[1]) == bits(torch.ones(100))


def test_every_bit_changed_in_a_header_is_noticed() -> None:
    header = joined(Message("x", {"a": 1}, (torch.zeros(3),)), 5)[:HEADER_BYTES]
    for bit in range(HEADER_BYTES * 8):
        data = bytearray(header)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError, match="damaged"):
            Header.unpack(bytes(data), 5)


def test_another_number_than_is_due_is_noticed() -> None:
    with pytest.raises(FrameError, match="message 4 arrived where 5 was due"):
        Header.unpack(joined(Message("x", {}, ()), 4)[:HEADER_BYTES], 5)


def test_a_sign_of_life_bears_the_number_that_is_due() -> None:
    assert Header.unpack(frames.alive(7), 7) == Header(ALIVE, 0, 7, 0, 0)


def header(magic: bytes = frames.MAGIC, kind: int = MESSAGE, tensors: int = 0, head: int = 0, body: int = 0) -> bytes:
    fields = struct.pack("!4sBBQIQ", magic, kind, tensors, 0, head, body)
    return fields + struct.pack("!I", zlib.crc32(fields))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (header(magic=b"HTTP"), "no frame"),
        (header(kind=9), "no frame"),
        (header(head=frames.MAX_HEAD + 1), "over the limit"),
        (header(body=frames.MAX_BODY + 1), "over the limit"),
        (header(kind=ALIVE, head=5), "sign of life"),
    ],
)
def test_wrong_headers(data: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        Header.unpack(data, 0)


@pytest.mark.parametrize(
    ("head", "body", "why"),
    [
        (["x", {}, [["float32", [2]]]], 4, "take 8 bytes, 4 were announced"),
        (["x", {}, [["float32", [1, 1, 1, 1, 1, 1, 1, 1, 1]]]], 4, "described as"),
        (["x", {}, [["complex64", [2]]]], 16, "described as"),
        (["x", {}, [[["float32"], [2]]]], 8, "described as"),
        (["x", {}, [["float32", [-2]]]], 8, "shape"),
        (["x", {}, [["float32", [True]]]], 4, "shape"),
        (["x", {}, [["float32", [1 << 70]]]], 4, "shape"),
        (["x", {}, [["float32", [2.0]]]], 8, "shape"),
        (["x", {}, [["float32"]]], 8, "cannot be read"),
        (["x", {}, []], 0, "0 tensors are described where 1 were announced"),
        (["x", [], [["float32", [1]]]], 4, "another form"),
        ([3, {}, [["float32", [1]]]], 4, "another form"),
        ({"kind": "x"}, 4, "cannot be read"),
    ],
)
def test_heads_that_do_not_fit_what_was_announced(head: Any, body: int, why: str) -> None:
    data = json.dumps(head).encode()
    with pytest.raises(FrameError, match=why):
        frames.unpack_head(Header(MESSAGE, 1, 0, len(data), body), data)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xff", b"[" * 100_000])
def test_heads_that_are_no_json(data: bytes) -> None:
    with pytest.raises(FrameError, match="cannot be read"):
        frames.unpack_head(Header(MESSAGE, 1, 0, len(data), 4), data)


@pytest.mark.parametrize(
    "message",
    [
        Message("x", {"a": object()}, ()),
        Message("x", {}, (torch.zeros(2, dtype=torch.complex64),)),
        Message("x", {}, (torch.zeros(2, device="meta"),)),
        Message("x", {}, (torch.zeros(2, 2).to_sparse(),)),
        Message("x", {}, (torch.zeros([1] * 9),)),
        Message("x", {}, (torch.zeros(1),) * 256),
    ],
)
def test_what_cannot_be_sent(message: Message) -> None:
    with pytest.raises(FrameError):
        frames.pack(message, 0)


def test_too_large_messages_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_BODY", 10)
    with pytest.raises(FrameError, match="over the limit"):
        frames.pack(Message("x", {}, (torch.zeros(3),)), 0)


def test_an_empty_array_of_numpy_can_be_sent() -> None:
    """Its stride is 0, which torch's own empty tensors never have."""
    empty = torch.from_numpy(np.empty(0, np.int64))
    assert empty.stride() == (0,)
    (piece,) = frames.pack(Message("step", {}, (empty,)), 1)
    header = Header.unpack(bytes(piece[:HEADER_BYTES]), 1)
    assert (header.tensors, header.body_bytes) == (1, 0)


def test_numbers_that_are_none_arrive_as_they_are() -> None:
    """A model that is broken must fail its own requests, and not the batch."""
    meta = {"logprobs": [math.nan, -math.inf]}
    (piece,) = frames.pack(Message("answer", meta, ()), 1)
    header = Header.unpack(bytes(piece[:HEADER_BYTES]), 1)
    found = frames.unpack_head(header, bytes(piece[HEADER_BYTES:])).meta["logprobs"]
    assert math.isnan(found[0])
    assert found[1] == -math.inf
