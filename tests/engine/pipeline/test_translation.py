"""An encoder-decoder in stages gives what it gives whole, bit for bit; and its engine loses nothing with a stage."""

from __future__ import annotations

import itertools
import json
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.checkpoint import open_checkpoint
from engine.errors import DeadlineExceeded, EngineFailed, ReplicaLost
from engine.models import cross_decoder
from engine.models.seq2seq import seq2seq_family_of
from engine.pipeline.choices import choices_from, choices_to
from engine.pipeline.message import Message, Stage
from engine.pipeline.translation import (
    TranslationStage,
    from_message,
    load_pipelined_seq2seq,
    load_translation_stage,
    to_message,
)
from engine.request import SamplingParams
from engine.seq2seq.choice import Choice, Draw
from engine.seq2seq.config import Seq2SeqConfig
from engine.seq2seq.engine import Seq2SeqEngine
from engine.seq2seq.load import load_seq2seq_engine
from engine.seq2seq.request import Decoding, Translated, TranslateRequest
from engine.seq2seq.restrict import NOWHERE, Penalty, Restricted
from engine.seq2seq.work import Answer, Work
from engine.steps import run_all
from tests.engine.pipeline.staged import StagedRunner, splits
from tests.engine.quantization.test_prepare import prepared
from tests.engine.tiny_seq2seq import FAMILIES, write_checkpoint

Cut = list[tuple[int, int]]
CONFIG = Seq2SeqConfig(precision="fp32", cache_bytes=1 << 20, max_model_len=40, max_new_tokens=20, max_running=6)
SOURCES = [tuple(4 + (7 * n * n + 11 * i) % 90 for i in range(2 + 5 * n % 23)) for n in range(8)]
GREEDY = Decoding(max_tokens=9, forbidden=(70,))
BEAM = replace(GREEDY, beams=4, hypotheses=2, early_stopping=True, forbidden=(70, 71))
DRAWN = replace(GREEDY, temperature=1.5, hypotheses=3, top_p=0.9, seed=2**60 + 5)
RULES = [
    GREEDY,
    replace(BEAM, repetition_penalty=1.4, min_tokens=4),
    DRAWN,
    replace(GREEDY, no_repeat_ngram=2, repetition_penalty=0.7, first_token=9, force_end=True),
    replace(BEAM, beams=2, max_tokens=14, first_token=8, force_end=True, no_repeat_ngram=2, forbidden=()),
    replace(DRAWN, temperature=0.7, hypotheses=1, top_k=5, min_p=0.05),
    replace(GREEDY, max_tokens=1),
]
REQUESTS = [TranslateRequest(str(n), SOURCES[n], rule) for n, rule in enumerate(RULES)]


def layers_of(folder: Path) -> tuple[int, int]:
    """The encoder's and the decoder's."""
    with open_checkpoint(folder) as checkpoint:
        arch = seq2seq_family_of(checkpoint.config).architecture(checkpoint.config)
    return arch.encoder.num_layers, arch.decoder.num_layers


def load_stages(folder: Path, config: Seq2SeqConfig, cut: Cut) -> list[TranslationStage]:
    return [load_translation_stage(folder, config, first, last) for first, last in cut]


def spoil(stage: Stage) -> None:
    """What a lost stage's caches held is worth nothing, nor what the others' held of it."""
    assert isinstance(stage, TranslationStage)
    for cache in stage.caches:
        cache.fill_(1000.0)


def staged(
    folder: Path, config: Seq2SeqConfig, stages: list[TranslationStage], losses: Container[int] = ()
) -> tuple[Seq2SeqEngine, StagedRunner[Work, Answer]]:
    runner: StagedRunner[Work, Answer] = StagedRunner(stages, to_message, from_message, losses, spoil)
    return load_pipelined_seq2seq(folder, config, runner), runner


def texts(answers: list[Translated]) -> list[Any]:
    assert all(answer.error is None for answer in answers)
    return [(answer.hypotheses, answer.steps) for answer in answers]


def compare(folder: Path, config: Seq2SeqConfig, cuts: list[Cut]) -> None:
    whole = texts(run_all(load_seq2seq_engine(folder, config), REQUESTS))
    assert len({hypotheses for hypotheses, _ in whole}) == len(REQUESTS)
    for cut in cuts:
        engine, _ = staged(folder, config, load_stages(folder, config, cut))
        assert texts(run_all(engine, REQUESTS)) == whole, cut
        engine.check()
        assert engine.slots.used == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_any_split_translates_as_the_whole(family: str, tmp_path: Path) -> None:
    write_checkpoint(family, tmp_path)
    encoder, decoder = layers_of(tmp_path)
    every = splits(encoder + decoder)
    compare(tmp_path, CONFIG, every)
    few = [[(0, encoder), (encoder, encoder + decoder)], [(0, 1), (1, encoder + 1), (encoder + 1, 5)], every[-1]]
    compare(tmp_path, replace(CONFIG, precision="bf16"), few)


@pytest.mark.parametrize("small", [0, cross_decoder.SMALL_TABLE], ids=["large-tables", "small-tables"])
@pytest.mark.parametrize("family", ["marian", "marian-two-vocabularies", "m2m100", "t5", "t5-1.1"])
def test_any_split_of_a_quantized_one_translates_as_the_whole(
    family: str, small: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every scheme some products, and the table where embedding and head are one."""
    monkeypatch.setattr(cross_decoder, "SMALL_TABLE", small)
    write_checkpoint(family, tmp_path / "base")
    prepared(tmp_path / "base", tmp_path / "made")
    encoder, decoder = layers_of(tmp_path / "made")
    cuts = [cut for cut in splits(encoder + decoder) if len(cut) in (2, 5)]
    compare(tmp_path / "made", replace(CONFIG, precision="int8-dynamic"), cuts)


@pytest.mark.model
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_demo_translator_in_stages(precision: str, demo_models: dict[str, Path]) -> None:
    config = replace(CONFIG, precision=precision, cache_bytes=16 << 20)  # type: ignore[arg-type]
    encoder, decoder = layers_of(demo_models["en-de"])
    layers = encoder + decoder
    halves, thirds = [(0, encoder), (encoder, layers)], [(0, 1), (1, layers - 1), (layers - 1, layers)]
    compare(demo_models["en-de"], config, [halves, thirds])


def test_a_stage_holds_its_layers_alone(tmp_path: Path) -> None:
    write_checkpoint("t5-1.1", tmp_path)  # encoder 3, decoder 2; the head is no embedding
    whole, *parts = load_stages(tmp_path, CONFIG, [(0, 5), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)])
    table = 4 * 131 * 48
    assert sum(part.weight_bytes for part in parts) < whole.weight_bytes + table + 5 * 4 * 4 * 80 + 1000
    assert whole.weight_bytes <= sum(part.weight_bytes for part in parts)
    assert [part.weight_bytes - parts[1].weight_bytes for part in (parts[0], parts[2])] == [table, 4 * 48]
    assert parts[4].weight_bytes - parts[3].weight_bytes >= 4 * 48  # the last norm; head against embedding
    slots = (1 << 20) // (2 * 2 * 80 * 4)
    assert [part.cache_bytes for part in parts] == [0, 0, 0, *[slots * 2 * 80 * 4] * 2]
    assert whole.cache_bytes == 2 * slots * 2 * 80 * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marian")
    model = write_checkpoint("marian", path, encoder_layers=1, decoder_layers=2)
    with torch.no_grad():
        model.model.shared.weight *= 0.4
        model.final_logits_bias[0, 0] = 2.5
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def stages(folder: Path) -> list[TranslationStage]:
    return load_stages(folder, CONFIG, [(0, 1), (1, 2), (2, 3)])


@pytest.fixture(scope="module")
def alone(folder: Path) -> list[Any]:
    engine = load_seq2seq_engine(folder, CONFIG)
    found = [texts(run_all(engine, [request]))[0] for request in REQUESTS]
    assert len({steps for _, steps in found}) > 3
    return found


def drive(engine: Seq2SeqEngine, found: dict[str, Translated], most: int = 400) -> None:
    """To the end."""
    for _ in range(most):
        if engine.idle:
            break
        for name, answer in engine.step():
            assert name not in found
            found[name] = answer
        engine.check()
    assert engine.idle
    assert engine.slots.used == 0


def test_sentences_are_spread_over_lanes_and_all_are_under_way(folder: Path, stages: list[TranslationStage]) -> None:
    engine, runner = staged(folder, CONFIG, stages)
    for n in range(6):
        engine.add(TranslateRequest(str(n), SOURCES[n], replace(GREEDY, min_tokens=9)))
    engine.step()
    assert [lane.rows for lane in engine.lanes] == [2, 2, 2]
    assert [lane.under_way for lane in engine.lanes] == [False, True, True]
    assert runner.most_under_way == 6  # each lane's sources, then its first step
    engine.step()
    assert [lane.under_way for lane in engine.lanes] == [True, False, True]
    assert engine.stats().running == 6
    assert engine.last_step_tokens == sum(len(SOURCES[n]) for n in (1, 4)) + 2


def test_a_sentence_joins_the_lane_with_the_fewest_rows_once_it_rests(
    folder: Path, stages: list[TranslationStage]
) -> None:
    engine, _ = staged(folder, CONFIG, stages)
    for n, beams in enumerate((1, 4, 4)):
        engine.add(TranslateRequest(str(n), SOURCES[n], replace(BEAM, beams=beams, hypotheses=1, min_tokens=9)))
    engine.step()
    engine.step()
    assert [lane.under_way for lane in engine.lanes] == [True, False, True]
    engine.add(TranslateRequest("new", SOURCES[3], GREEDY))
    engine.step()
    assert [lane.rows for lane in engine.lanes] == [1, 4, 4]
    engine.step()
    assert not engine.lanes[0].under_way
    assert engine.stats().waiting == 1
    engine.step()
    assert [lane.rows for lane in engine.lanes] == [2, 4, 4]


def test_who_leaves_while_its_step_is_under_way_frees_its_slots_at_once(
    folder: Path, stages: list[TranslationStage], alone: list[Any]
) -> None:
    now = [0.0]
    engine, _ = staged(folder, CONFIG, stages)
    engine.clock = lambda: now[0]
    for request in REQUESTS[:5]:
        engine.add(replace(request, deadline_s=5.0 if request.id == "1" else None))
    engine.step()
    lane = engine.lanes[2]
    assert lane.under_way
    assert lane.holds(engine.requests["2"])
    before, freed = engine.slots.used, len(SOURCES[2]) + 3
    assert engine.abort("2")
    assert engine.slots.used == before - freed
    engine.check()
    engine.add(REQUESTS[2])  # once more, into slots that the work under way names
    now[0] = 5.0
    found = dict(engine.step())
    assert isinstance(found.pop("1").error, DeadlineExceeded)
    drive(engine, found)
    assert sorted(found) == ["0", "2", "3", "4"]
    for name, answer in found.items():
        assert texts([answer]) == [alone[int(name)]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.lists(st.integers(-5, 6), max_size=4), max_size=15),
    losses=st.sets(st.integers(0, 90), max_size=2),
    slots=st.sampled_from([400, 130, 100]),
    batch=st.sampled_from([60, 9]),
    running=st.integers(1, 6),
)
def test_whatever_is_lost_everybody_gets_the_same_answer_as_alone(
    folder: Path,
    stages: list[TranslationStage],
    alone: list[Any],
    steps: list[list[int]],
    losses: set[int],
    slots: int,
    batch: int,
    running: int,
) -> None:
    """Numbers from 0 add that sentence, negative ones take one out that is still there."""
    engine, runner = staged(folder, CONFIG, stages, losses)
    engine.limits = replace(engine.limits, slots=slots, max_batch_tokens=batch, max_running=running)
    engine.slots = type(engine.slots)(slots)
    sentences: dict[str, int] = {}
    found: dict[str, Translated] = {}
    gone: set[str] = set()
    for moves in steps:
        for move in moves:
            if move >= 0:
                name = str(len(sentences))
                sentences[name] = move
                request = replace(REQUESTS[move], id=name, priority=move % 2)
                engine.prepare(request)
                engine.add(request)
            elif engine.requests:
                name = list(engine.requests)[move % len(engine.requests)]
                assert engine.abort(name)
                gone.add(name)
            engine.check()
        for name, answer in engine.step():
            assert name not in found
            found[name] = answer
        engine.check()
    drive(engine, found, 3000)
    assert set(found) | gone == set(sentences)
    assert not set(found) & gone
    for name, answer in found.items():
        assert texts([answer]) == [alone[sentences[name]]]
    assert runner.repairs == sum(loss < runner.calls for loss in losses)


def test_short_memory_sends_the_youngest_back_though_it_is_under_way(
    folder: Path, stages: list[TranslationStage]
) -> None:
    long = replace(BEAM, max_tokens=20, min_tokens=20)
    wanted = [TranslateRequest(str(n), SOURCES[n][:10], long) for n in range(6)]
    engine, _ = staged(folder, CONFIG, stages)
    engine.slots = type(engine.slots)(180)
    for request in wanted:
        engine.add(request)
    found: dict[str, Translated] = {}
    drive(engine, found, 1000)
    assert engine.stats().preemptions > 0
    single = load_seq2seq_engine(folder, CONFIG)
    for request in wanted:
        assert found[request.id].hypotheses == run_all(single, [request])[0].hypotheses


def test_a_runner_that_cannot_be_repaired_ends_the_step(
    folder: Path, stages: list[TranslationStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, runner = staged(folder, CONFIG, stages, losses={8})

    def refuse() -> None:
        raise ReplicaLost("no place for the stage")

    monkeypatch.setattr(runner, "repair", refuse)
    for request in REQUESTS[:3]:
        engine.add(replace(request, decoding=replace(request.decoding, min_tokens=9)))
    assert engine.step() == []  # six calls for the lanes' first steps, and two for an answer
    with pytest.raises(ReplicaLost):
        engine.step()
    assert [sentence.request.id for sentence in engine.waiting] == ["0", "1", "2"]
    engine.check()


def test_work_that_fails_leaves_no_slot_taken(
    folder: Path, stages: list[TranslationStage], alone: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, runner = staged(folder, CONFIG, stages)
    works = runner.from_message

    def fails(message: Message) -> Answer:
        if message.kind != "chosen":
            return works(message)
        monkeypatch.setattr(runner, "from_message", works)
        raise EngineFailed("out of memory")

    for request in REQUESTS[:4]:
        engine.add(request)
    engine.step()
    monkeypatch.setattr(runner, "from_message", fails)
    with pytest.raises(EngineFailed):
        engine.step()
    engine.check()
    for name in list(engine.requests):  # as the loop does
        engine.abort(name)
    assert engine.slots.used == 0
    engine.add(REQUESTS[4])
    found: dict[str, Translated] = {}
    drive(engine, found)
    assert texts([found["4"]]) == [alone[4]]


@pytest.mark.parametrize("place", range(6))
def test_what_cannot_be_sent_leaves_no_trace(
    place: int, folder: Path, stages: list[TranslationStage], alone: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sources of any of three lanes, or its step."""
    engine, runner = staged(folder, CONFIG, stages)
    sends, count = runner.submit, itertools.count()

    def refuse(work: Work) -> None:
        if next(count) == place:
            raise EngineFailed("A batch cannot be sent to the stages")
        sends(work)

    for request in REQUESTS[:5]:
        engine.add(request)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "submit", refuse)
        with pytest.raises(EngineFailed):
            engine.step()
    engine.check()
    assert engine.stats().waiting == 5
    engine.abort("1")
    found: dict[str, Translated] = {}
    drive(engine, found)
    assert {name: texts([answer])[0] for name, answer in found.items()} == {str(n): alone[n] for n in (0, 2, 3, 4)}


def test_failures_that_nobody_waits_for_are_none(
    folder: Path, stages: list[TranslationStage], alone: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, runner = staged(folder, CONFIG, stages)

    def fail(message: Message) -> Answer:
        raise EngineFailed("out of memory")

    for request in REQUESTS[:5]:
        engine.add(request)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "from_message", fail)
        with pytest.raises(EngineFailed):
            engine.step()
        for name in list(engine.requests):  # as the loop does
            engine.abort(name)
        steps = 0
        while not engine.idle:
            assert engine.step() == []
            assert engine.last_step_tokens == 0
            engine.check()
            steps += 1
            assert steps < 10
    assert engine.slots.used == 0
    engine.add(REQUESTS[4])
    found: dict[str, Translated] = {}
    drive(engine, found)
    assert texts([found["4"]]) == [alone[4]]


def test_many_penalized_sentences_are_few_tensors() -> None:
    penalties = tuple(Penalty(3 * n, 1.0 + n, np.arange(3 * n, dtype=np.int32).reshape(3, n)) for n in range(200))
    places = np.array([[1, 2], [3, 4]], np.int64)
    draws = (Draw(SamplingParams(5, temperature=0.5, seed=3), 4),)
    wanted = [
        Choice(600, 4, Restricted(True, penalties, (7,), places, ((0, 3, 9),))),
        Choice(1, 1, Restricted(False, (), (), NOWHERE, ()), draws),
        Choice(3, 2, Restricted(False, penalties[4:6], (), places[:1], ())),
    ]
    meta, tensors = choices_to(wanted)
    assert len(tensors) == 2
    found = choices_from(json.loads(json.dumps(meta)), tensors)
    assert repr(found) == repr(wanted)


def test_a_sentence_over_which_stage_after_stage_is_lost_is_given_up(
    folder: Path, stages: list[TranslationStage]
) -> None:
    engine, runner = staged(folder, CONFIG, stages, losses={2, 5, 8})  # after its source and its first step
    engine.add(REQUESTS[0])
    found: list[tuple[str, Translated]] = []
    while not engine.idle:
        found += engine.step()
        engine.check()
    ((name, answer),) = found
    assert (name, runner.repairs) == ("0", 3)
    assert "not tried again" in str(answer.error)
