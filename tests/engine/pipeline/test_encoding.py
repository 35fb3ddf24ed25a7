"""An encoder in stages gives what it gives whole, bit for bit; and its engine loses nothing with a stage."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.checkpoint import open_checkpoint
from engine.encoder.batching import LEAST_SHARE, PATIENCE_S
from engine.encoder.config import EncoderConfig
from engine.encoder.describe import Task
from engine.encoder.engine import EncoderEngine, EncodeWork, Vectors
from engine.encoder.load import load_encoder_engine
from engine.encoder.request import Encoded, EncodeRequest
from engine.errors import DeadlineExceeded, EngineFailed, ReplicaLost
from engine.models import encoder_family_of
from engine.models.packed import Text, pack
from engine.pipeline.encoding import (
    EncodingStage,
    from_message,
    load_encoder_stage,
    load_pipelined_encoder,
    to_message,
)
from engine.pipeline.message import Message
from engine.steps import run_all
from tests.engine.pipeline.staged import StagedRunner, splits
from tests.engine.quantization.test_prepare import prepared
from tests.engine.tiny_encoders import ENCODERS, write_encoder

Cut = list[tuple[int, int]]
TEXTS = [tuple(5 + (7 * i * i + 11 * k) % 120 for i in range(n)) for k, n in enumerate((4, 30, 1, 17, 60, 2))]
REQUESTS = [EncodeRequest(str(i), text, (0,) * len(text)) for i, text in enumerate(TEXTS)]
POOLINGS: list[dict[str, Any] | None] = [
    None,
    {"pooling_mode_cls_token": True},
    {"pooling_mode_max_tokens": True, "pooling_mode_lasttoken": True},
]


def layers_of(folder: Path) -> int:
    with open_checkpoint(folder) as checkpoint:
        return encoder_family_of(checkpoint.config).architecture(checkpoint.config).num_layers


def load_stages(folder: Path, config: EncoderConfig, cut: Cut, task: Task) -> list[EncodingStage]:
    return [load_encoder_stage(folder, config, first, last, task) for first, last in cut]


def staged(
    folder: Path, config: EncoderConfig, cut: Cut, task: Task, losses: Container[int] = ()
) -> tuple[EncoderEngine, StagedRunner[EncodeWork, Vectors]]:
    runner = StagedRunner(load_stages(folder, config, cut, task), to_message, from_message, losses)
    return load_pipelined_encoder(folder, config, task, runner), runner


def bits(answers: list[Encoded]) -> list[bytes]:
    assert all(answer.error is None for answer in answers)
    return [answer.values.tobytes() for answer in answers if answer.values is not None]


@pytest.mark.parametrize("family", ENCODERS)
def test_any_split_classifies_as_the_whole(family: str, tmp_path: Path) -> None:
    write_encoder(family, tmp_path, "AutoModelForSequenceClassification", num_labels=5)
    for precision in ("fp32", "bf16"):
        config = EncoderConfig(precision=precision, max_batch_tokens=70)
        whole = bits(run_all(load_encoder_engine(tmp_path, config, "text-classification"), REQUESTS))
        assert len(whole) == len(REQUESTS)
        for cut in splits(layers_of(tmp_path)):
            engine, runner = staged(tmp_path, config, cut, "text-classification")
            assert bits(run_all(engine, REQUESTS)) == whole
            assert runner.most_under_way == min(len(cut), 2)  # two batches of at most 70 tokens


@pytest.mark.parametrize("pooling", POOLINGS, ids=["mean", "cls", "max-last"])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_any_split_embeds_as_the_whole(family: str, pooling: dict[str, Any] | None, tmp_path: Path) -> None:
    write_encoder(family, tmp_path)
    if pooling is not None:
        kinds = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
        modules = [
            {"idx": int(n), "name": n, "path": at, "type": f"sentence_transformers.models.{kind}"}
            for n, at, kind in kinds
        ]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    config = EncoderConfig(precision="bf16", max_batch_tokens=70)
    whole = bits(run_all(load_encoder_engine(tmp_path, config, "embedding"), REQUESTS))
    for cut in splits(layers_of(tmp_path)):
        assert bits(run_all(staged(tmp_path, config, cut, "embedding")[0], REQUESTS)) == whole


@pytest.mark.parametrize("family", ["bert", "modernbert-biased"])
def test_any_split_of_a_quantized_one_computes_as_the_whole(family: str, tmp_path: Path) -> None:
    write_encoder(family, tmp_path / "base", "AutoModelForSequenceClassification", num_labels=5)
    prepared(tmp_path / "base", tmp_path / "made")
    config = EncoderConfig(precision="int8-dynamic")
    whole = bits(run_all(load_encoder_engine(tmp_path / "made", config, "text-classification"), REQUESTS))
    for cut in splits(layers_of(tmp_path / "made")):
        assert bits(run_all(staged(tmp_path / "made", config, cut, "text-classification")[0], REQUESTS)) == whole


def test_a_stage_holds_its_layers_alone(tmp_path: Path) -> None:
    write_encoder("bert", tmp_path, "AutoModelForSequenceClassification", num_labels=5)
    config = EncoderConfig(precision="fp32")
    (whole,) = load_stages(tmp_path, config, [(0, 3)], "text-classification")
    parts = load_stages(tmp_path, config, [(0, 1), (1, 2), (2, 3)], "text-classification")
    assert sum(part.weight_bytes for part in parts) == whole.weight_bytes
    layer = parts[1].weight_bytes
    # Three projections of 48 x 48 beside the output's, two of the MLP, biases and norms; packing fills up rows.
    assert 4 * (4 * 48 * 48 + 2 * 48 * 80) < layer < 1.5 * 4 * (4 * 48 * 48 + 2 * 48 * 80)
    embedding = 4 * (131 + 2 + 128 + 2) * 48
    assert parts[0].weight_bytes == layer + embedding
    assert layer + 4 * (48 * 48 + 5 * 48) < parts[2].weight_bytes < layer + 2 * 4 * (48 * 48 + 5 * 48 + 53)
    assert whole.cache_bytes == 0


class Clock:
    """Time that passes only when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    write_encoder("bert", folder)
    return folder


@pytest.fixture(scope="module")
def stages(folder: Path) -> list[EncodingStage]:
    return load_stages(folder, CONFIG, [(0, 1), (1, 2), (2, 3)], "embedding")


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, bytes]:
    engine = load_encoder_engine(folder, CONFIG, "embedding")
    return {request.id: bits(run_all(engine, [request]))[0] for request in REQUESTS}


CONFIG = EncoderConfig(precision="fp32", max_batch_tokens=600, max_running=8)


def engine_of(
    folder: Path, stages: list[EncodingStage], losses: Container[int] = (), **changes: Any
) -> tuple[EncoderEngine, StagedRunner[EncodeWork, Vectors]]:
    runner: StagedRunner[EncodeWork, Vectors] = StagedRunner(stages, to_message, from_message, losses)
    engine = load_pipelined_encoder(folder, CONFIG, "embedding", runner)
    engine.clock = changes.pop("clock", engine.clock)
    return engine, runner


def long(name: str, tokens: int, **more: Any) -> EncodeRequest:
    return EncodeRequest(name, (7,) * tokens, **more)


def test_a_few_short_texts_are_one_batch_and_a_full_queue_as_many_as_stages(
    folder: Path, stages: list[EncodingStage]
) -> None:
    engine, _ = engine_of(folder, stages)
    for i in range(4):
        engine.add(long(str(i), LEAST_SHARE // 4))
    assert len(engine.step()) == 4
    for i in range(6):
        engine.add(long(str(i), LEAST_SHARE))
    assert len(engine.step()) == 2
    assert [len(flight.entries) for flight in engine.in_flight] == [2, 2]
    assert (engine.stats().running, engine.stats().waiting, engine.idle) == (4, 0, False)
    assert len(engine.step()) == 2
    assert len(engine.step()) == 2
    assert engine.idle


def test_while_others_are_under_way_the_next_batch_waits_for_those_just_answered(
    folder: Path, stages: list[EncodingStage]
) -> None:
    clock = Clock()
    engine, _ = engine_of(folder, stages, clock=clock)
    for i in range(3):
        engine.add(long(str(i), LEAST_SHARE))
    assert engine.patience_s == 0
    assert [name for name, _ in engine.step()] == ["0"]
    assert 0 < engine.patience_s <= PATIENCE_S
    engine.add(long("0", LEAST_SHARE))
    assert engine.patience_s == 0
    assert [name for name, _ in engine.step()] == ["1"]
    clock.now += 2 * PATIENCE_S  # nobody else came
    assert engine.patience_s == 0
    assert [name for name, _ in engine.step() + engine.step()] == ["2", "0"]
    assert engine.patience_s == 0


def test_an_aborted_text_that_is_under_way_is_not_reported(
    folder: Path, stages: list[EncodingStage], alone: dict[str, bytes]
) -> None:
    clock = Clock()
    engine, _ = engine_of(folder, stages, clock=clock)
    for request in [long("first", LEAST_SHARE), long("late", LEAST_SHARE, deadline_s=clock.now + 1), *REQUESTS[:2]]:
        engine.add(request)
    assert [name for name, _ in engine.step()] == ["first"]
    assert engine.abort("0")
    assert not engine.abort("0")
    engine.add(EncodeRequest("0", TEXTS[3]))  # another text under the same name
    clock.now += 1
    found = dict(engine.step())
    assert isinstance(found.pop("late").error, DeadlineExceeded)
    while not engine.idle:
        for name, answer in engine.step():
            assert name not in found
            found[name] = answer
    assert {name: bits([answer])[0] for name, answer in found.items()} == {"0": alone["3"], "1": alone["1"]}
    assert engine.stats().running == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.lists(st.integers(-6, 5), max_size=5), max_size=12),
    losses=st.sets(st.integers(0, 40), max_size=2),
    batch=st.sampled_from([30, 70, 600]),
)
def test_whatever_is_lost_everybody_gets_the_same_answer_as_alone(
    folder: Path,
    stages: list[EncodingStage],
    alone: dict[str, bytes],
    steps: list[list[int]],
    losses: set[int],
    batch: int,
) -> None:
    """Numbers from 0 add that text, negative ones take one out that is still there."""
    engine, runner = engine_of(folder, stages, losses)
    engine.limits = replace(engine.limits, max_batch_tokens=batch)
    texts: dict[str, int] = {}
    found: dict[str, Encoded] = {}
    gone: set[str] = set()
    for moves in [*steps, *([[]] * 60)]:
        for move in moves:
            if move >= 0:
                name = f"{len(texts)}"
                texts[name] = move
                engine.add(EncodeRequest(name, TEXTS[move], priority=move % 2))
            elif engine.requests:
                name = list(engine.requests)[move % len(engine.requests)]
                assert engine.abort(name)
                gone.add(name)
        for name, answer in engine.step():
            assert name not in found
            found[name] = answer
        assert [entry.rank for entry in engine.queue] == sorted(entry.rank for entry in engine.queue)
    assert engine.idle
    assert set(found) | gone == set(texts)
    assert not set(found) & gone
    for name, answer in found.items():
        assert bits([answer])[0] == alone[str(texts[name])]
    assert runner.repairs == sum(loss < runner.calls for loss in losses)


def test_what_was_lost_is_computed_first(folder: Path, stages: list[EncodingStage]) -> None:
    engine, runner = engine_of(folder, stages, losses={3})
    engine.limits = replace(engine.limits, max_batch_tokens=100)
    for i in range(7):
        engine.add(long(str(i), 100))
    assert engine.step() == []
    assert [entry.request.id for entry in engine.queue] == [str(i) for i in range(7)]
    order = []
    while not engine.idle:
        order += [name for name, _ in engine.step()]
    assert (order, runner.repairs) == ([str(i) for i in range(7)], 1)


def test_a_runner_that_cannot_be_repaired_ends_the_step(
    folder: Path, stages: list[EncodingStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, runner = engine_of(folder, stages, losses={1})

    def refuse() -> None:
        raise ReplicaLost("no place for the stage")

    monkeypatch.setattr(runner, "repair", refuse)
    engine.add(REQUESTS[0])
    with pytest.raises(ReplicaLost):
        engine.step()
    assert [entry.request.id for entry in engine.queue] == ["0"]


def test_work_that_fails_leaves_the_rest_as_it_was(
    folder: Path, stages: list[EncodingStage], alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, runner = engine_of(folder, stages)
    works = runner.from_message

    def fails(message: Message) -> Vectors:
        monkeypatch.setattr(runner, "from_message", works)
        raise EngineFailed("out of memory")

    monkeypatch.setattr(runner, "from_message", fails)
    engine.add(long("big", LEAST_SHARE))
    engine.add(REQUESTS[1])
    with pytest.raises(EngineFailed):
        engine.step()
    engine.abort("big")
    assert {name: bits([answer])[0] for name, answer in engine.step()} == {"1": alone["1"]}
    assert engine.idle


def test_messages_name_what_travels(folder: Path, stages: list[EncodingStage]) -> None:
    with open_checkpoint(folder) as checkpoint:
        arch = encoder_family_of(checkpoint.config).architecture(checkpoint.config)
    message = to_message(EncodeWork(pack([Text(TEXTS[0]), Text(TEXTS[1])], arch)))
    assert (message.kind, [tuple(t.shape) for t in message.tensors]) == ("texts", [(34,), (34,), (34,), (3,)])
    between = stages[0].run(message)
    assert [tuple(t.shape) for t in between.tensors] == [(34,), (34,), (34,), (3,), (34, 48)]
    made = stages[2].run(stages[1].run(between))
    assert made.kind == "vectors"
    assert from_message(made).shape == (2, 48)
    assert from_message(made).dtype == np.float32


def test_what_cannot_be_sent_leaves_no_trace(
    folder: Path, stages: list[EncodingStage], alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, runner = engine_of(folder, stages)

    def refuse(work: EncodeWork) -> None:
        raise EngineFailed("A batch cannot be sent to the stages")

    engine.add(REQUESTS[0])
    with monkeypatch.context() as patch:
        patch.setattr(runner, "submit", refuse)
        with pytest.raises(EngineFailed):
            engine.step()
    engine.abort("0")
    assert engine.idle
    for request in REQUESTS[1:3]:
        engine.add(request)
        assert {name: bits([answer])[0] for name, answer in engine.step()} == {request.id: alone[request.id]}


def test_a_failure_that_nobody_waits_for_is_no_failure(
    folder: Path, stages: list[EncodingStage], alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, runner = engine_of(folder, stages)

    def fail(message: Message) -> Vectors:
        raise EngineFailed("out of memory")

    for i in range(3):
        engine.add(long(str(i), LEAST_SHARE))
    with monkeypatch.context() as patch:
        patch.setattr(runner, "from_message", fail)
        with pytest.raises(EngineFailed):
            engine.step()
        for name in list(engine.requests):  # as the loop does
            engine.abort(name)
        assert len(engine.in_flight) == 2
        assert engine.step() == []
        assert engine.last_step_tokens == 0
        assert engine.step() == []
    assert engine.idle
    engine.add(REQUESTS[1])
    assert {name: bits([answer])[0] for name, answer in engine.step()} == {"1": alone["1"]}


def test_a_text_over_which_stage_after_stage_is_lost_is_given_up(folder: Path, stages: list[EncodingStage]) -> None:
    engine, runner = engine_of(folder, stages, losses={1, 3, 5})
    engine.add(REQUESTS[0])
    found: list[tuple[str, Encoded]] = []
    while not engine.idle:
        found += engine.step()
    ((name, answer),) = found
    assert (name, runner.repairs) == ("0", 3)
    assert "not tried again" in str(answer.error)
