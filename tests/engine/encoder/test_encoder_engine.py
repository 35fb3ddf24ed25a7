"""The encoder's engine: order, limits, deadlines, and a text's answer whoever shares its batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.checkpoint import open_checkpoint
from engine.encoder.batching import PATIENCE_S
from engine.encoder.config import EncoderConfig
from engine.encoder.engine import EncoderEngine, EncoderLimits
from engine.encoder.load import load_encoder_engine, local_runner
from engine.encoder.model import TextEmbedder
from engine.encoder.request import Encoded, EncodeRequest
from engine.errors import CheckpointError, ConfigError, DeadlineExceeded, InvalidRequest
from engine.kernels import TorchKernels
from engine.kernels.operators import load
from engine.models import load_encoder
from tests.engine.tiny_encoders import write_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    write_encoder("bert", folder)
    return folder


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_engine(folder: Path, clock: Clock, tokens: int = 40, texts: int = 8) -> EncoderEngine:
    with open_checkpoint(folder) as checkpoint:
        encoder = load_encoder(checkpoint, TorchKernels(torch.float32, torch.device("cpu")), 100)
    limits = EncoderLimits(max_model_len=100, max_batch_tokens=tokens, max_running=texts, max_waiting=99)
    runner = local_runner(TextEmbedder(encoder, ("mean",), True))
    return EncoderEngine(runner, limits, encoder.arch, encoder.kernels.name, clock)


def request(name: str, tokens: int = 10, **more: float) -> EncodeRequest:
    return EncodeRequest(name, tuple(range(5, 5 + tokens)), **more)  # type: ignore[arg-type]


def batches(engine: EncoderEngine) -> list[list[str]]:
    """The ids of every batch until nothing is left."""
    found = []
    while not engine.idle:
        if outputs := engine.step():
            found.append([name for name, _ in outputs])
    return found


def test_batches_are_counted_in_tokens_in_order_of_priority_then_arrival(folder: Path) -> None:
    engine = make_engine(folder, Clock())
    for name, tokens, priority in (("a", 20, 0), ("b", 15, 0), ("c", 90, 0), ("d", 10, -1), ("e", 5, 1), ("f", 10, 0)):
        engine.add(request(name, tokens, priority=priority))
    assert engine.stats().waiting == 6
    assert batches(engine) == [["d", "a"], ["b"], ["c"], ["f", "e"]]
    stats = engine.stats()
    assert (stats.texts, stats.prompt_tokens, stats.steps, stats.waiting, stats.running) == (6, 150, 4, 0, 0)
    assert engine.last_step_tokens == 15


def test_a_batch_has_no_more_texts_than_may_run(folder: Path) -> None:
    engine = make_engine(folder, Clock(), tokens=1000, texts=3)
    for i in range(7):
        engine.add(request(str(i), 2))
    assert [len(batch) for batch in batches(engine)] == [3, 3, 1]


def test_the_first_text_does_not_wait_and_the_first_of_many_that_come_back_does(folder: Path) -> None:
    clock = Clock()
    engine = make_engine(folder, clock)
    assert engine.patience_s == 0
    engine.add(request("a"))
    engine.add(request("b"))
    assert engine.patience_s == 0
    assert len(engine.step()) == 2
    engine.add(request("a"))
    assert 0 < engine.patience_s <= PATIENCE_S
    engine.add(request("b"))
    assert engine.patience_s == 0
    assert [name for name, _ in engine.step()] == ["a", "b"]
    engine.add(request("a"))
    assert engine.patience_s > 0
    clock.now += 2 * PATIENCE_S  # nobody else came
    assert engine.patience_s == 0
    assert len(engine.step()) == 1


def test_deadlines_and_aborts(folder: Path) -> None:
    clock = Clock()
    engine = make_engine(folder, clock)
    engine.add(request("late", deadline_s=clock.now + 1))
    engine.add(request("gone"))
    engine.add(request("kept", deadline_s=clock.now + 9, arrival_s=clock.now - 2))
    assert engine.abort("gone")
    assert not engine.abort("gone")
    clock.now += 1
    outputs = dict(engine.step())
    assert set(outputs) == {"late", "kept"}
    assert isinstance(outputs["late"].error, DeadlineExceeded)
    assert outputs["late"].values is None
    assert outputs["kept"].values is not None
    assert outputs["kept"].queue_s == pytest.approx(3)
    assert all(output.finished for output in outputs.values())
    assert engine.idle
    assert engine.step() == []


@pytest.mark.parametrize(
    ("tokens", "types", "complaint"),
    [
        ((), (), "empty"),
        ((5,) * 101, (), "takes 100"),
        ((5, 131), (), "from 0 to 130"),
        ((5, -1), (), "from 0 to 130"),
        ((5, 6), (0,), "1 segment ids for 2 tokens"),
        ((5, 6), (0, 2), "segment ids go from 0 to 1"),
    ],
)
def test_what_cannot_succeed_is_refused(
    tokens: tuple[int, ...], types: tuple[int, ...], complaint: str, folder: Path
) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        make_engine(folder, Clock()).prepare(EncodeRequest("a", tokens, types))


def test_an_id_in_use_is_refused(folder: Path) -> None:
    engine = make_engine(folder, Clock())
    engine.prepare(request("a"))
    engine.add(request("a"))
    with pytest.raises(InvalidRequest, match="in use"):
        engine.add(request("a"))


@pytest.mark.skipif(not load(), reason="no C++ compiler: the native kernels are not in use here")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("task", ["embedding", "text-classification"])
def test_neighbours_change_nothing_bit_for_bit(precision: str, task: str, tmp_path: Path) -> None:
    write_encoder("bert", tmp_path, "AutoModelForSequenceClassification", num_labels=5)
    config = EncoderConfig(precision=precision, max_batch_tokens=60)  # type: ignore[arg-type]
    engine = load_encoder_engine(tmp_path, config, task)  # type: ignore[arg-type]

    def answers(sizes: list[int]) -> list[Encoded]:
        for i, size in enumerate(sizes):
            engine.add(request(str(i), size))
        found: dict[str, Encoded] = {}
        while not engine.idle:
            found |= engine.step()
        return [found[str(i)] for i in range(len(sizes))]

    sizes = [3, 17, 30, 9, 60, 1, 1, 25]
    for size, together in zip(sizes, answers(sizes), strict=True):
        alone = answers([size])[0]
        assert alone.values is not None
        assert together.values is not None
        assert alone.values.dtype == np.float32
        assert np.array_equal(alone.values, together.values)


def test_limits_come_from_model_and_configuration(tmp_path: Path) -> None:
    write_encoder("bert", tmp_path)
    assert load_encoder_engine(tmp_path, EncoderConfig(), "embedding").limits.max_model_len == 128
    short = load_encoder_engine(tmp_path, EncoderConfig(max_model_len=50), "embedding")
    assert short.limits.max_model_len == 50
    with pytest.raises(ConfigError, match="made for 128"):
        load_encoder_engine(tmp_path, EncoderConfig(max_model_len=129), "embedding")
    with pytest.raises(CheckpointError, match="no classifier"):
        load_encoder_engine(tmp_path, EncoderConfig(), "text-classification")
