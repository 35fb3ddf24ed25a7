"""Contenders for texts on small random models, and a client that asks for whole answers."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from deployments.bench.client import ask_all
from deployments.bench.contender import contender, peer
from engine.encoder.config import EncoderConfig
from engine.errors import EngineFailed
from engine.seq2seq.config import Seq2SeqConfig
from tests.engine.tiny_encoders import write_encoder
from tests.engine.tiny_seq2seq import write_checkpoint

TEXTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14], [15, 16], [17, 18, 19, 20]]


def test_a_classifier_and_its_peer_give_the_same_classes(tmp_path: Path) -> None:
    write_encoder("bert", tmp_path, "AutoModelForSequenceClassification", num_labels=7)
    options = {**asdict(EncoderConfig(precision="fp32", threads=1)), "task": "text-classification"}
    with contender("encoder", tmp_path, options) as engine:
        mine = [engine.run(texts=TEXTS, batch=batch) for batch in (1, 2, 4)]
    with peer(Path(sys.executable), "transformers-encoder", tmp_path, {"threads": 1}) as other:
        theirs = other.run(texts=TEXTS, batch=2)
    assert [one["out"] for one in mine] == [theirs["out"]] * 3
    assert all(one["seconds"] > 0 for one in mine)


def test_padding_costs_what_it_does_elsewhere_and_is_counted(tmp_path: Path) -> None:
    write_encoder("bert", tmp_path)
    options = {**asdict(EncoderConfig(precision="fp32", threads=1)), "task": "embedding"}
    with contender("encoder", tmp_path, options) as engine:
        packed, padded = (engine.run(texts=TEXTS, batch=4, padded=padded)["out"] for padded in (False, True))
    assert packed[1] == padded[1], "the longest text gets no padding"
    assert packed[0] != padded[0]


@pytest.mark.parametrize("beams", [1, 4])
def test_a_translator_and_its_peer_give_the_same_tokens(tmp_path: Path, beams: int) -> None:
    model = write_checkpoint("marian", tmp_path)
    config = model.config
    special = {config.eos_token_id, config.pad_token_id, config.decoder_start_token_id}
    texts = [[*text, config.eos_token_id] for text in TEXTS]
    with contender("translator", tmp_path, asdict(Seq2SeqConfig(precision="fp32", threads=1))) as engine:
        work = {"texts": texts, "beams": beams, "tokens": 9}
        mine = [engine.run(**work, batch=2, continuous=continuous)["out"] for continuous in (False, True)]
    with peer(Path(sys.executable), "transformers-translator", tmp_path, {"threads": 1}) as other:
        theirs = other.run(**work, batch=2)["out"]
    assert mine[0] == mine[1] == [[token for token in out if token not in special] for out in theirs]


@pytest.mark.parametrize(
    ("kind", "module"),
    [("onnxruntime", "onnxruntime"), ("llama.cpp", "llama_cpp"), ("openvino", "openvino")],
)
def test_a_peer_that_is_not_there_is_told(tmp_path: Path, kind: str, module: str) -> None:
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"this environment has {module}")
    missing = peer(Path(sys.executable), kind, tmp_path, {"threads": 1, "precision": "fp32"})
    with pytest.raises(EngineFailed, match=f"No module named '{module}'"), missing:
        pass


async def test_clients_take_turns_on_their_connections() -> None:
    connections, bodies = 0, []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while head := await reader.read(1 << 16):
            bodies.append(head.partition(b"\r\n\r\n")[2])
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        seconds = await ask_all("127.0.0.1", port, "/x", [str(i).encode() for i in range(10)], 3)
    assert connections == 3
    assert sorted(bodies) == sorted(str(i).encode() for i in range(10))
    assert all(one > 0 for one in seconds)


async def test_another_answer_than_200_is_no_figure() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(b"HTTP/1.1 503 Full\r\ncontent-length: 4\r\n\r\nfull")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(EngineFailed, match="503 full: full"):
            await ask_all("127.0.0.1", port, "/x", [b"a"], 1)
