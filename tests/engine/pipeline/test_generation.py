"""A decoder in stages gives what it gives in one piece, bit for bit; with several steps under way, and with losses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batch import Batch, Span, build_batch
from engine.checkpoint import open_checkpoint
from engine.engine import Engine, Limits
from engine.errors import EngineFailed
from engine.kernels import select_kernels
from engine.models import load_decoder
from engine.models.transform import Transform
from engine.pipeline.generation import Answer, DecoderLayers, Work
from engine.pipeline.generation_messages import DecoderStage, to_answer, to_message, to_work
from engine.pipeline.message import Message, Stage
from engine.pipeline.runner import LocalRunner
from engine.quantization.weight import Scheme
from engine.request import Delta, Request, SamplingParams
from engine.sampling.pick import Frozen
from tests.engine.pipeline.staged import StagedRunner, sent
from tests.engine.test_quantized_neighbours import quantizing
from tests.engine.tiny import FAMILIES, VOCABULARY, write_checkpoint

LIMITS = Limits(
    max_model_len=96, blocks=60, block_size=4, max_batch_tokens=16, max_running=8, max_waiting=64, prefix_cache=True
)
EOS = 7
Make = Callable[..., DecoderLayers]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp(request.param)
    write_checkpoint(request.param, folder)
    return partial(layers, folder)


def layers(
    folder: Path,
    first: int = 0,
    last: int | None = None,
    dtype: torch.dtype = torch.float32,
    transform: Transform | None = None,
) -> DecoderLayers:
    kernels = select_kernels("cpu", dtype)
    with open_checkpoint(folder) as checkpoint:
        decoder = load_decoder(checkpoint, kernels, LIMITS.max_model_len, first, last, transform)
    caches = [kernels.make_cache(LIMITS.blocks, LIMITS.block_size, decoder.arch.heads) for _ in decoder.layers]
    return DecoderLayers(decoder, caches)


def staged(
    make: Make,
    bounds: tuple[int, ...],
    limits: Limits = LIMITS,
    dtype: torch.dtype = torch.float32,
    losses: Container[int] = (),
) -> Engine:
    """Cut at `bounds`, say (0, 2, 3)."""
    stages = [DecoderStage(make(first, last, dtype), weight_bytes=0) for first, last in itertools.pairwise(bounds)]
    vocabulary = stages[0].layers.decoder.arch.vocab_size
    runner: StagedRunner[Work, Answer] = StagedRunner(
        stages, partial(to_message, vocab_size=vocabulary), to_answer, losses, spoil
    )
    return Engine(runner, limits, vocabulary, eos_token_ids=(EOS,), clock=lambda: 0.0)


def spoil(stage: Stage) -> None:
    """A new stage has other numbers where the cache was: what is not computed again shows."""
    assert isinstance(stage, DecoderStage)
    for cache in stage.layers.caches:
        cache.keys.fill_(3.0)
        cache.values.fill_(-5.0)


def runner_of(engine: Engine) -> StagedRunner[Work, Answer]:
    assert isinstance(engine.runner, StagedRunner)
    return engine.runner


def whole(make: Make, dtype: torch.dtype = torch.float32, limits: Limits = LIMITS) -> Engine:
    one = make(dtype=dtype)
    return Engine(
        LocalRunner(one.compute), limits, one.decoder.arch.vocab_size, eos_token_ids=(EOS,), clock=lambda: 0.0
    )


def requests() -> list[Request]:
    """Of every kind that the choice of tokens knows."""
    kinds: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 0.0, "logprobs": 2, "prompt_logprobs": 1, "ignore_eos": True},
        {"temperature": 0.9, "top_p": 0.9, "seed": 3},
        {"temperature": 0.7, "top_k": 5, "seed": 4, "repetition_penalty": 1.3, "logprobs": 0},
        {"temperature": 1.0, "min_p": 0.05, "seed": 5, "frequency_penalty": 0.4, "presence_penalty": 0.2},
        {"temperature": 0.0, "logit_bias": {3: 4.0, EOS: 2.0}, "min_tokens": 6},
        {"temperature": 0.0, "stop_token_ids": (11, 12)},
    ]
    return [
        Request(str(i), tuple((7 * i + 5 * j) % VOCABULARY for j in range(1 + 6 * i)), SamplingParams(9, **kind))
        for i, kind in enumerate(kinds)
    ]


def run(engine: Engine, wanted: list[Request], aborted: dict[int, str] | None = None) -> dict[str, list[Delta]]:
    """All at once; `aborted` says who leaves after which step."""
    gained: dict[str, list[Delta]] = {request.id: [] for request in wanted}
    for request in wanted:
        engine.prepare(request)
        engine.add(request)
    step = 0
    while not engine.idle:
        for request_id, delta in engine.step():
            gained[request_id].append(delta)
        if aborted and step in aborted:
            engine.abort(aborted[step])
        engine.check()
        step += 1
        assert step < 2000
    assert engine.blocks.used == 0
    return gained


def told(deltas: list[Delta]) -> tuple[Any, ...]:
    """What an answer comes to, however it was bundled."""
    return (
        [token for delta in deltas for token in delta.tokens],
        [entry for delta in deltas for entry in delta.logprobs],
        [entry for delta in deltas for entry in delta.prompt_logprobs],
        deltas[-1].finish_reason,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_split_gives_the_same(make: Make, dtype: torch.dtype) -> None:
    layers = make().decoder.arch.num_layers
    expected = {name: told(deltas) for name, deltas in run(whole(make, dtype), requests()).items()}
    inner = range(1, layers)
    for bounds in [(0, layers), *((0, cut, layers) for cut in inner), tuple(range(layers + 1))]:
        engine = staged(make, bounds, dtype=dtype)
        found = {name: told(deltas) for name, deltas in run(engine, requests()).items()}
        assert found == expected, bounds
        assert runner_of(engine).most_under_way == len(bounds) - 1


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("llama")
    write_checkpoint("llama", folder)
    return partial(layers, folder)


@pytest.mark.parametrize("scheme", ["int8-dynamic", "int8-static", "int8-weight", "int4-weight"])
@pytest.mark.parametrize("name", ["llama", "llama-untied-biased", "llama-large-vocabulary"])
def test_any_precision_gives_the_same_in_stages(name: str, scheme: Scheme, tmp_path: Path) -> None:
    """The head included, be it the embedding as well."""
    write_checkpoint(name, tmp_path)
    make = partial(layers, tmp_path, transform=quantizing(scheme))
    expected = {key: told(deltas) for key, deltas in run(whole(make, torch.bfloat16), requests()).items()}
    for bounds in ((0, 1, 3), (0, 1, 2, 3)):
        found = run(staged(make, bounds, dtype=torch.bfloat16), requests())
        assert {key: told(deltas) for key, deltas in found.items()} == expected, bounds


@settings(max_examples=40, deadline=None)
@given(
    lost=st.frozensets(st.integers(0, 120), max_size=2),
    aborted=st.dictionaries(st.integers(0, 40), st.integers(0, 6).map(str), max_size=2),
    blocks=st.integers(24, 60),
    budget=st.integers(2, 40),
    cuts=st.sampled_from([(0, 1, 3), (0, 2, 3), (0, 1, 2, 3)]),
    prefix_cache=st.booleans(),
)
def test_lost_stages_change_nothing(
    llama: Make,
    lost: frozenset[int],
    aborted: dict[int, str],
    blocks: int,
    budget: int,
    cuts: tuple[int, ...],
    prefix_cache: bool,
) -> None:
    limits = Limits(96, blocks, 4, budget, min(8, budget), 64, prefix_cache)
    engine = staged(llama, cuts, limits, losses=lost)
    found = run(engine, requests(), aborted)
    alone = run(whole(llama), requests())
    runner = runner_of(engine)
    assert runner.repairs == sum(one < runner.calls for one in lost)
    for name, deltas in found.items():
        if name not in aborted.values():
            assert told(deltas) == told(alone[name])


def test_a_long_prompt_goes_through_the_stages_in_chunks_at_once(llama: Make) -> None:
    engine = staged(llama, (0, 1, 2, 3))
    engine.add(Request("long", tuple(i % VOCABULARY for i in range(60)), SamplingParams(2, temperature=0)))
    engine.step()
    assert len(engine.under_way) == 2  # the third is the one that was answered
    assert [one.chunk.start for launched in engine.under_way for one in launched] == [3, 6]


def test_those_that_decode_are_dealt_out(llama: Make) -> None:
    engine = staged(llama, (0, 1, 3))
    for i in range(8):
        engine.add(Request(str(i), (i, 2), SamplingParams(20, temperature=0, ignore_eos=True)))
    sizes = []
    for _ in range(12):
        engine.step()
        sizes.append([len(launched) for launched in engine.under_way])
    assert sizes[-1] == [4]
    assert sizes[-2] == [4]


def test_failures_that_nobody_waits_for_are_none(llama: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = staged(llama, (0, 1, 2, 3))

    def fail(message: Message) -> Answer:
        raise EngineFailed("out of memory")

    for request in requests():
        engine.add(request)
    engine.step()
    with monkeypatch.context() as patch:
        patch.setattr(runner_of(engine), "from_message", fail)
        with pytest.raises(EngineFailed):
            engine.step()
        for name in list(engine.requests):  # as the loop does
            engine.abort(name)
        assert len(engine.under_way) == 2
        assert engine.step() == []
        assert engine.last_step_tokens == 0
        assert engine.step() == []
    assert engine.idle
    alone, again = run(whole(llama), requests()), run(engine, requests())
    assert {name: told(deltas) for name, deltas in again.items()} == {name: told(alone[name]) for name in alone}


def test_rows_with_penalties_and_grammars_are_few_tensors() -> None:
    """However many rows: a message has no more than 255."""
    params = SamplingParams(9, repetition_penalty=1.2, logit_bias={3: 1.5})
    picks = []
    for n in range(300):
        seen = np.arange(n, dtype=np.int64), np.arange(n, dtype=np.float32) / 2
        mask = np.arange(n, n + 13).astype(np.uint8)
        kind = n % 5
        adjusted = (True, (1,), seen if kind < 3 else None, mask if kind > 1 else None) if kind else (False,)
        picks.append(Frozen(params, n, *adjusted))
    message = sent(to_message(Work(build_batch([Span((1,), 0, (0,))], 4), (0,), tuple(picks), ()), vocab_size=100))
    assert len(message.tensors) == len(fields(Batch)) + 3
    for found, pick in zip(to_work(message).picks, picks, strict=True):
        assert isinstance(found, Frozen)
        assert (found.position, found.adjusted, found.held_back) == (pick.position, pick.adjusted, pick.held_back)
        assert (found.mask is None, found.counts is None) == (pick.mask is None, pick.counts is None)
        np.testing.assert_array_equal(found.allowed(100), pick.allowed(100))
        for one, other in zip(found.counts or (), pick.counts or (), strict=True):
            np.testing.assert_array_equal(one, other, strict=True)


def test_a_request_over_which_stage_after_stage_is_lost_is_given_up(llama: Make) -> None:
    engine = staged(llama, (0, 1, 3), losses={1, 3, 5})
    found = run(engine, [Request("deadly", (1, 2, 3), SamplingParams(5, temperature=0))])["deadly"]
    assert runner_of(engine).repairs == 3
    assert "not tried again" in str(found[-1].error)
    assert told(run(engine, requests())["0"]) == told(run(whole(llama), requests())["0"])


def test_losses_with_tokens_between_them_are_nobodys_fault(llama: Make) -> None:
    engine = staged(llama, (0, 3), losses={1, 5, 9, 13})
    wanted = [Request("a", (1, 2, 3), SamplingParams(9, temperature=0, ignore_eos=True))]
    assert told(run(engine, wanted)["a"]) == told(run(whole(llama), wanted)["a"])
    assert runner_of(engine).repairs == 4
