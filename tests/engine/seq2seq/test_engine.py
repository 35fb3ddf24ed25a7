"""Continuous batching: whatever the company, the order and the memory, the answers are alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.checkpoint import open_checkpoint
from engine.errors import CheckpointError, ConfigError, DeadlineExceeded, InvalidRequest
from engine.kernels import Kernels, TorchKernels, select_kernels
from engine.models.cross_architecture import Seq2SeqArchitecture
from engine.models.seq2seq import Seq2Seq, load_seq2seq
from engine.seq2seq.config import Seq2SeqConfig
from engine.seq2seq.engine import Seq2SeqEngine, Seq2SeqLimits
from engine.seq2seq.group import Vocabulary
from engine.seq2seq.load import load_seq2seq_engine
from engine.seq2seq.request import Decoding, Translated, TranslateRequest
from engine.seq2seq.slots import Ids, Slots
from engine.seq2seq.work import local_runner
from tests.engine.tiny_seq2seq import FAMILIES, VOCABULARY, write_checkpoint

LIMITS = Seq2SeqLimits(
    max_model_len=30, max_new_tokens=20, slots=400, max_batch_tokens=60, max_running=6, max_waiting=50
)
MARIAN = Vocabulary(VOCABULARY - 1, (0,))
GREEDY = Decoding(max_tokens=9, forbidden=(VOCABULARY - 1,))
BEAM = replace(GREEDY, beams=4, hypotheses=2)
DRAWN = replace(GREEDY, temperature=1.5, hypotheses=3, top_p=0.9, seed=5)
RULES = [GREEDY, BEAM, DRAWN, replace(BEAM, beams=2, max_tokens=14), replace(GREEDY, max_tokens=1), DRAWN]
SOURCES = [tuple(1 + (7 * n * n + 11 * i) % 120 for i in range(3 + 5 * n % 23)) for n in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marian")
    model = write_checkpoint("marian", path, encoder_layers=1, decoder_layers=2)
    with torch.no_grad():
        model.model.shared.weight *= 0.4
        model.final_logits_bias[0, 0] = 5.0
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def models(folder: Path) -> dict[str, Seq2Seq]:
    found = {}
    every: dict[str, Kernels] = {"torch": TorchKernels(torch.float32, torch.device("cpu"))}
    every |= {"best": select_kernels("cpu", torch.float32), "bf16": select_kernels("cpu", torch.bfloat16)}
    for name, kernels in every.items():
        with open_checkpoint(folder) as checkpoint:
            found[name] = load_seq2seq(checkpoint, kernels, LIMITS.max_model_len, LIMITS.max_new_tokens)
    return found


def make_engine(model: Seq2Seq, clock: Callable[[], float] = lambda: 0.0, **changes: int) -> Seq2SeqEngine:
    limits = replace(LIMITS, **changes)
    runner = local_runner(model, model.decoder.make_caches(limits.slots))
    arch = Seq2SeqArchitecture(model.encoder.arch, model.decoder.arch)
    return Seq2SeqEngine(runner, limits, arch, MARIAN, model.kernels.name, clock)


def run(engine: Seq2SeqEngine, requests: list[TranslateRequest], pauses: list[int]) -> dict[str, Translated]:
    """Adds the requests with so many steps between them, and runs to the end."""
    found: dict[str, Translated] = {}
    queue = list(zip(requests, [*pauses, *([0] * len(requests))], strict=False))
    wait = steps = 0
    while queue or not engine.idle:
        while queue and wait == 0:
            request, wait = queue.pop(0)
            engine.prepare(request)
            engine.add(request)
        wait = max(0, wait - 1)
        found.update(engine.step())
        engine.check()
        steps += 1
        assert steps < 2000
    assert engine.slots.used == 0
    assert all(answer.error is None for answer in found.values())
    return found


def requests(decodings: list[Decoding]) -> list[TranslateRequest]:
    return [TranslateRequest(str(n), SOURCES[n % len(SOURCES)], decoding) for n, decoding in enumerate(decodings)]


def alone(model: Seq2Seq, request: TranslateRequest) -> Any:
    return run(make_engine(model), [request], [])[request.id].hypotheses


@pytest.mark.parametrize("kernels", ["best", "bf16", "torch"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(len(RULES))),
    pauses=st.lists(st.integers(0, 5), min_size=6, max_size=6),
    slots=st.sampled_from([400, 130, 100]),
    batch=st.sampled_from([60, 31, 9]),
    running=st.integers(1, 6),
)
def test_company_never_matters(
    models: dict[str, Seq2Seq], kernels: str, order: list[int], pauses: list[int], slots: int, batch: int, running: int
) -> None:
    model = models[kernels]
    wanted = [requests(RULES)[n] for n in order]
    engine = make_engine(model, slots=slots, max_batch_tokens=batch, max_running=running)
    found = run(engine, wanted, pauses)
    for request in wanted:
        expected, answer = alone(model, request), found[request.id].hypotheses
        assert [h.tokens for h in answer] == [h.tokens for h in expected]
        if model.kernels.name == "native":
            assert answer == expected  # bit for bit
        else:
            assert [h.score for h in answer] == pytest.approx([h.score for h in expected], abs=1e-4)


def test_short_memory_sends_the_youngest_back_to_the_queue(models: dict[str, Seq2Seq]) -> None:
    long = replace(BEAM, max_tokens=20, min_tokens=20)
    wanted = [TranslateRequest(str(n), SOURCES[n][:10], long) for n in range(6)]
    engine = make_engine(models["best"], slots=180, max_batch_tokens=30)
    found = run(engine, wanted, [])
    assert engine.stats().preemptions > 0
    for request in wanted:
        assert found[request.id].hypotheses == alone(models["best"], request)


def test_what_dropped_hypotheses_left_is_collected_first(models: dict[str, Seq2Seq]) -> None:
    long = replace(BEAM, max_tokens=20, min_tokens=20)
    engine = make_engine(models["best"])
    engine.add(TranslateRequest("a", SOURCES[0][:3], long))
    while engine.steps < 15:
        engine.step()
    before = engine.slots.used
    assert before == 3 + 4 * 15
    group = next(iter(engine.lanes[0].groups.values()))
    group.collect(engine.slots)
    live = len(np.unique(group.places.table[0, :, :15]))
    assert engine.slots.used == 3 + live < before
    engine.check()
    found: dict[str, Translated] = {}
    while not engine.idle:
        found.update(engine.step())
        engine.check()
    assert found["a"].hypotheses == alone(models["best"], TranslateRequest("a", SOURCES[0][:3], long))


def test_what_can_never_fit_is_refused_at_once(models: dict[str, Seq2Seq]) -> None:
    engine = make_engine(models["best"], slots=60)
    with pytest.raises(InvalidRequest, match="fewer beams"):
        engine.prepare(TranslateRequest("a", SOURCES[0], replace(BEAM, max_tokens=20)))
    engine.prepare(TranslateRequest("a", SOURCES[0], replace(GREEDY, max_tokens=20)))


def test_deadlines_and_aborts_free_what_they_held(models: dict[str, Seq2Seq]) -> None:
    now = [0.0]
    engine = make_engine(models["best"], clock=lambda: now[0], max_running=3)
    long = replace(BEAM, max_tokens=20, min_tokens=20)
    for n in range(5):
        engine.add(TranslateRequest(str(n), SOURCES[n], long, deadline_s=9.0 if n in (1, 4) else None))
    engine.step()
    assert (engine.stats().running, engine.stats().waiting) == (3, 2)
    assert engine.abort("0")
    assert not engine.abort("0")
    assert engine.abort("3")
    engine.check()
    now[0] = 9.0
    late = dict(engine.step())
    engine.check()
    assert sorted(late) == ["1", "4"]
    assert all(isinstance(answer.error, DeadlineExceeded) and answer.finished for answer in late.values())
    found: dict[str, Translated] = {}
    while not engine.idle:
        found.update(engine.step())
    assert found["2"].hypotheses == alone(models["best"], TranslateRequest("2", SOURCES[2], long))
    assert engine.slots.used == 0


def test_lower_priority_numbers_go_first(models: dict[str, Seq2Seq]) -> None:
    engine = make_engine(models["best"], max_running=1)
    for n, priority in enumerate([5, 1, 3]):
        engine.add(TranslateRequest(str(n), SOURCES[n], GREEDY, priority=priority))
    order = []
    while not engine.idle:
        order += [request_id for request_id, _ in engine.step()]
    assert order == ["1", "2", "0"]


def test_times_steps_and_counts(models: dict[str, Seq2Seq]) -> None:
    now = [100.0]
    engine = make_engine(models["best"], clock=lambda: now[0], max_running=1)
    for name in ("a", "b"):
        engine.add(TranslateRequest(name, SOURCES[0], replace(GREEDY, min_tokens=9), arrival_s=90.0))
    found: dict[str, Translated] = {}
    while not engine.idle:
        found.update(engine.step())
        now[0] += 1
    assert (found["a"].queue_s, found["a"].run_s, found["a"].steps) == (10.0, 8.0, 9)
    assert (found["b"].queue_s, found["b"].run_s, found["b"].steps) == (19.0, 8.0, 9)
    stats = engine.stats()
    assert (stats.sentences, stats.prompt_tokens, stats.steps) == (2, 2 * len(SOURCES[0]), 18)
    assert stats.generated_tokens == sum(len(h.tokens) for answer in found.values() for h in answer.hypotheses)


def test_a_step_counts_sentences_whatever_their_beams(models: dict[str, Seq2Seq]) -> None:
    engine = make_engine(models["best"])
    for i, rules in enumerate((GREEDY, BEAM)):
        engine.add(TranslateRequest(f"{i}", SOURCES[i], rules))
    engine.step()
    assert engine.last_step_tokens == sum(map(len, SOURCES[:2])) + 2


def test_sampling_depends_on_seed_and_hypothesis_alone(models: dict[str, Seq2Seq]) -> None:
    def drawn(**changes: Any) -> list[tuple[int, ...]]:
        request = TranslateRequest("a", SOURCES[1], replace(DRAWN, max_tokens=20, **changes))
        return [h.tokens for h in alone(models["best"], request)]

    three = drawn()
    assert sorted(three) == sorted(drawn())
    assert len(set(three)) == 3
    assert set(drawn(hypotheses=1)) < set(three)  # the first one's draws are the same however many there are
    assert set(drawn(hypotheses=2)) < set(three)
    assert not set(three) & set(drawn(seed=6))
    greedy = alone(models["best"], TranslateRequest("a", SOURCES[1], replace(GREEDY, max_tokens=20)))
    assert drawn(top_k=1, hypotheses=1) == [greedy[0].tokens]
    assert set(drawn(temperature=1e-4)) == {greedy[0].tokens}


def test_first_draws_follow_the_probabilities(models: dict[str, Seq2Seq]) -> None:
    model, count = models["best"], 600
    engine = make_engine(model, slots=4000, max_batch_tokens=64, max_running=64)
    decoding = Decoding(max_tokens=1, temperature=0.7)
    found = run(
        engine, [TranslateRequest(str(n), SOURCES[2], replace(decoding, seed=n)) for n in range(count)], [0] * count
    )
    scores = {}
    for answer in found.values():
        (hypothesis,) = answer.hypotheses
        scores[hypothesis.tokens] = hypothesis.score
    best = max(scores, key=lambda tokens: scores[tokens])
    share = sum(answer.hypotheses[0].tokens == best for answer in found.values()) / count
    # Probabilities at this temperature, of those that were ever drawn: all but a little of the whole.
    weights = {tokens: np.exp(score / 0.7) for tokens, score in scores.items()}
    assert share == pytest.approx(weights[best] / sum(weights.values()), abs=0.08)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"max_tokens": 21}, "from 1 to 20"),
        ({"max_tokens": 0}, "from 1 to 20"),
        ({"min_tokens": 10}, "min_tokens"),
        ({"beams": 0}, "beams"),
        ({"beams": 65}, "beams"),
        ({"hypotheses": 2}, "as many as beams"),
        ({"hypotheses": 0}, "hypotheses"),
        ({"beams": 2, "temperature": 1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"length_penalty": float("nan")}, "length_penalty"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"forbidden": (VOCABULARY,)}, "token ids"),
        ({"first_token": -1}, "token ids"),
    ],
)
def test_senseless_decoding_is_refused(models: dict[str, Seq2Seq], changes: Any, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        make_engine(models["best"]).prepare(TranslateRequest("a", (1, 2), replace(GREEDY, **changes)))


@pytest.mark.parametrize(
    ("source", "complaint"), [((), "empty"), ((1,) * 31, "takes 30"), ((VOCABULARY,), "token ids")]
)
def test_senseless_sources_are_refused(models: dict[str, Seq2Seq], source: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        make_engine(models["best"]).prepare(TranslateRequest("a", source, GREEDY))


def test_an_id_in_use_is_refused(models: dict[str, Seq2Seq]) -> None:
    engine = make_engine(models["best"])
    engine.add(TranslateRequest("a", (1,), GREEDY))
    with pytest.raises(InvalidRequest, match="in use"):
        engine.add(TranslateRequest("a", (1,), GREEDY))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 7), max_size=40))
def test_slots_are_never_lost_or_given_twice(moves: list[int]) -> None:
    slots = Slots(20)
    held: list[Ids] = []
    for move in moves:
        if move >= 0:
            taken = slots.take(move)
            assert (taken is None) == (move > 20 - sum(len(one) for one in held))
            if taken is not None:
                held.append(taken)
        elif held:
            slots.give(held.pop(move % len(held)))
        slots.check()
        everything = np.concatenate([np.zeros(0, np.int32), *held])
        assert len(set(everything.tolist())) == len(everything) == slots.used


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_translates_as_transformers_does(family: str, tmp_path: Path) -> None:
    theirs = write_checkpoint(family, tmp_path)
    engine = load_seq2seq_engine(tmp_path, Seq2SeqConfig(precision="fp32", cache_bytes=1 << 20, max_model_len=40))
    padding = theirs.config.pad_token_id
    forced = theirs.generation_config.forced_eos_token_id is not None
    for beams in (1, 4):
        decoding = Decoding(max_tokens=12, beams=beams, hypotheses=beams, forbidden=(padding,), force_end=forced)
        wanted = [
            TranslateRequest(str(n), tuple(4 + token % 90 for token in source), decoding)
            for n, source in enumerate(SOURCES[:3])
        ]
        found = run(engine, wanted, [])
        for request in wanted:
            expected = theirs.generate(
                input_ids=torch.tensor([request.source]),
                num_beams=beams,
                num_return_sequences=beams,
                max_new_tokens=12,
                do_sample=False,
                bad_words_ids=[[padding]],
            )[:, 1:].tolist()
            ends = engine.vocabulary.ends
            cut = [row[: next((i for i, t in enumerate(row) if t in ends), len(row))] for row in expected]
            assert [list(h.tokens) for h in found[request.id].hypotheses] == cut


def test_limits_come_from_model_memory_and_configuration(folder: Path) -> None:
    engine = load_seq2seq_engine(folder, Seq2SeqConfig(precision="fp32", cache_bytes=1 << 20))
    slot = 2 * 2 * 48 * 4  # layers, key and value, width, bytes
    assert engine.limits == Seq2SeqLimits(128, 128, (1 << 20) // slot, 1024, 64, 512)
    assert engine.vocabulary == MARIAN
    for changes, complaint in (
        ({"cache_bytes": 100 * slot}, "kv_cache is too small"),
        ({"max_model_len": 129}, "max_model_len 129"),
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            load_seq2seq_engine(folder, replace(Seq2SeqConfig(), **changes))  # type: ignore[arg-type]


def test_one_table_serves_encoder_decoder_and_head(models: dict[str, Seq2Seq]) -> None:
    model = models["best"]
    assert model.encoder.embedding is model.decoder.embedding
    assert model.decoder.slot_bytes() == 2 * 2 * 48 * 4  # layers, key and value, width, bytes


def test_tokens_that_start_and_end_must_be_known(folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(folder, tmp_path / "model")
    for name in ("config.json", "generation_config.json"):
        path = tmp_path / "model" / name
        settings_ = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in settings_.items() if k != "eos_token_id"}))
    with pytest.raises(CheckpointError, match="eos_token_id"):
        load_seq2seq_engine(tmp_path / "model", Seq2SeqConfig())
