"""Continuous batching against one uncached forward pass a token, whatever the company, chunking and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.checkpoint import open_checkpoint
from engine.engine import Engine, Limits
from engine.errors import DeadlineExceeded, InvalidRequest
from engine.kernels import Kernels, TorchKernels, select_kernels
from engine.models import Decoder, load_decoder
from engine.pipeline.generation import Answer, DecoderLayers, Work
from engine.pipeline.runner import LocalRunner
from engine.request import Delta, FinishReason, Request, SamplingParams, Timings
from tests.engine.tiny import VOCABULARY, Reference, write_checkpoint

LIMITS = Limits(
    max_model_len=120, blocks=40, block_size=4, max_batch_tokens=16, max_running=8, max_waiting=64, prefix_cache=True
)
GREEDY = SamplingParams(max_tokens=6, temperature=0)
EOS = 7


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Callable[[Kernels], Decoder], Reference]:
    folder = tmp_path_factory.mktemp("llama")
    reference = write_checkpoint("llama", folder)
    made: dict[str, Decoder] = {}

    def decoder(kernels: Kernels) -> Decoder:
        name = f"{kernels.name} {kernels.dtype}"
        if name not in made:
            with open_checkpoint(folder) as checkpoint:
                made[name] = load_decoder(checkpoint, kernels, LIMITS.max_model_len)
        return made[name]

    return decoder, reference


@pytest.fixture(params=["best", "torch"])
def decoder(request: pytest.FixtureRequest, model: tuple[Callable[[Kernels], Decoder], Reference]) -> Decoder:
    torch_only = TorchKernels(torch.float32, torch.device("cpu"))
    return model[0](torch_only if request.param == "torch" else select_kernels("cpu", torch.float32))


@pytest.fixture
def reference(model: tuple[Callable[[Kernels], Decoder], Reference]) -> Reference:
    return model[1]


def make_engine(decoder: Decoder, clock: Callable[[], float] = lambda: 0.0, **changes: int | bool) -> Engine:
    limits = replace(LIMITS, **changes)  # type: ignore[arg-type]
    return Engine(local(decoder, limits), limits, VOCABULARY, eos_token_ids=(EOS,), clock=clock)


def local(decoder: Decoder, limits: Limits) -> LocalRunner[Work, Answer]:
    caches = [decoder.kernels.make_cache(limits.blocks, limits.block_size, decoder.arch.heads) for _ in decoder.layers]
    return LocalRunner(DecoderLayers(decoder, caches).compute)


def run(
    engine: Engine, requests: list[Request], every: int = 1, aborted: frozenset[str] = frozenset()
) -> dict[str, list[Delta]]:
    """Adds one request every so many steps and runs to the end."""
    gained: dict[str, list[Delta]] = {request.id: [] for request in requests}
    queue, steps = list(requests), 0
    while queue or not engine.idle:
        if queue and steps % every == 0:
            request = queue.pop(0)
            engine.prepare(request)
            engine.add(request)
        for request_id, delta in engine.step():
            gained[request_id].append(delta)
            if request_id in aborted:
                engine.abort(request_id)
        engine.check()
        steps += 1
        assert steps < 2000
    assert engine.blocks.used == 0
    return gained


def tokens_of(deltas: list[Delta]) -> list[int]:
    assert [delta.finish_reason is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    return [token for delta in deltas for token in delta.tokens]


def greedy(reference: Reference, prompt: tuple[int, ...], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(reference(tokens)[-1].argmax()))
        if tokens[-1] == EOS:
            break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("length", [1, 3, 4, 5, 40])
def test_greedy_tokens_are_the_references(decoder: Decoder, reference: Reference, length: int) -> None:
    prompt = tuple((5 * i + length) % VOCABULARY for i in range(length))
    deltas = run(make_engine(decoder), [Request("a", prompt, replace(GREEDY, max_tokens=12))])["a"]
    assert tokens_of(deltas) == greedy(reference, prompt, 12)


REQUEST = st.builds(
    lambda head, tail, answer, seed, temperature, priority: (head, tail, answer, seed, temperature, priority),
    st.integers(0, 24),
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=12),
    st.integers(1, 10),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.8]),
    st.integers(0, 1),
)


@settings(max_examples=25, deadline=None)
@given(
    drawn=st.lists(REQUEST, min_size=1, max_size=7),
    budget=st.integers(1, 24),
    blocks=st.integers(31, 60),
    running=st.integers(1, 8),
    every=st.integers(1, 3),
    prefix_cache=st.booleans(),
    aborted=st.frozensets(st.integers(0, 6).map(str), max_size=2),
)
def test_neighbours_chunks_and_preemption_change_nothing(
    model: tuple[Callable[[Kernels], Decoder], Reference],
    drawn: list[tuple[int, list[int], int, int, float, int]],
    budget: int,
    blocks: int,
    running: int,
    every: int,
    prefix_cache: bool,
    aborted: frozenset[str],
) -> None:
    decoder = model[0](select_kernels("cpu", torch.float32))
    requests = []
    for i, (head, tail, answer, seed, temperature, priority) in enumerate(drawn):
        sampling = SamplingParams(max_tokens=answer, temperature=temperature, seed=seed, logprobs=1)
        requests.append(Request(str(i), (*range(head), *tail), sampling, priority=priority))
    together = run(
        make_engine(
            decoder, max_batch_tokens=budget, blocks=blocks, max_running=min(running, budget), prefix_cache=prefix_cache
        ),
        requests,
        every,
        aborted,
    )
    for request in requests:
        if request.id in aborted:
            continue
        alone = run(make_engine(decoder, max_batch_tokens=64, blocks=60), [request])[request.id]
        assert tokens_of(together[request.id]) == tokens_of(alone)
        for mine, lone in zip(together[request.id], alone, strict=True):
            for a, b in zip(mine.logprobs, lone.logprobs, strict=True):
                assert a.logprob == pytest.approx(b.logprob, abs=1e-3)


def test_memory_for_one_at_a_time_is_enough(decoder: Decoder, reference: Reference) -> None:
    prompts = [tuple(range(i, i + 20)) for i in range(4)]
    requests = [Request(str(i), prompt, replace(GREEDY, max_tokens=30)) for i, prompt in enumerate(prompts)]
    engine = make_engine(decoder, blocks=30)
    gained = run(engine, requests)
    assert engine.stats().preemptions > 0
    for i, prompt in enumerate(prompts):
        assert tokens_of(gained[str(i)]) == greedy(reference, prompt, 30)


def test_a_resumed_request_goes_on_where_it_was(decoder: Decoder) -> None:
    sampling = SamplingParams(
        max_tokens=20,
        temperature=0.9,
        top_p=0.9,
        seed=11,
        repetition_penalty=1.2,
        frequency_penalty=0.3,
        ignore_eos=True,
    )
    whole = tokens_of(run(make_engine(decoder), [Request("a", (3, 1, 4), sampling)])["a"])
    assert len(whole) == 20
    for cut in (1, 7, 19):
        resumed = Request("b", (3, 1, 4), sampling, generated=tuple(whole[:cut]))
        assert tokens_of(run(make_engine(decoder), [resumed])["b"]) == whole[cut:]


def test_a_second_answer_comes_from_the_cache(decoder: Decoder) -> None:
    engine = make_engine(decoder)
    prompt = tuple(range(30))
    first = run(engine, [Request("a", prompt, GREEDY)])["a"]
    second = run(engine, [Request("b", prompt, GREEDY)])["b"]
    assert tokens_of(first) == tokens_of(second)
    assert (first[0].cached_tokens, second[0].cached_tokens) == (0, 28)
    assert (engine.stats().prefix_queries, engine.stats().prefix_hits) == (60, 28)


def finish(engine: Engine, prompt: tuple[int, ...], sampling: SamplingParams) -> tuple[list[int], FinishReason | None]:
    deltas = run(engine, [Request("a", prompt, sampling)])["a"]
    return tokens_of(deltas), deltas[-1].finish_reason


def test_stopping(decoder: Decoder) -> None:
    engine, prompt = make_engine(decoder), (9, 9, 8)
    free, reason = finish(engine, prompt, replace(GREEDY, max_tokens=10, ignore_eos=True))
    assert len(free) == 10
    assert reason == FinishReason.LENGTH
    token = next(t for i, t in enumerate(free) if i >= 2 and t not in free[:i])
    at = free.index(token)
    stop = replace(GREEDY, max_tokens=10, ignore_eos=True, stop_token_ids=(token,))
    assert finish(engine, prompt, stop) == (free[: at + 1], FinishReason.STOP)
    tokens, reason = finish(engine, prompt, replace(stop, min_tokens=at + 2))
    assert len(tokens) > at + 1
    assert tokens[:at] == free[:at]
    assert token not in tokens[: at + 2]


def test_eos_stops_unless_ignored(decoder: Decoder) -> None:
    engine = make_engine(decoder)
    wish = SamplingParams(max_tokens=5, temperature=0, logit_bias={EOS: 100.0})
    assert finish(engine, (1, 2), wish) == ([EOS], FinishReason.STOP)
    assert finish(engine, (1, 2), replace(wish, ignore_eos=True)) == ([EOS] * 5, FinishReason.LENGTH)
    tokens, reason = finish(engine, (1, 2), replace(wish, min_tokens=3))
    assert EOS not in tokens[:3]
    assert tokens[3] == EOS
    assert reason == FinishReason.STOP


def test_the_context_ends_an_answer(decoder: Decoder) -> None:
    tokens, reason = finish(make_engine(decoder), tuple(range(100)), replace(GREEDY, max_tokens=500, ignore_eos=True))
    assert len(tokens) == LIMITS.max_model_len - 100
    assert reason == FinishReason.LENGTH


class Two:
    """A grammar of two tokens, any but the stops."""

    is_terminated = False

    def state(self, stop_token_ids: tuple[int, ...] = ()) -> Two:
        return Two()

    def __init__(self) -> None:
        self.count = 0

    def advance(self, generated: list[int]) -> None:
        self.count = len(generated)

    def allowed(self, size: int) -> np.ndarray:
        keep = np.full(size, self.count < 2)
        keep[EOS] = self.count >= 2
        return keep


@pytest.mark.parametrize("ignore_eos", [False, True])
def test_the_end_of_a_grammar_ends_the_answer(decoder: Decoder, ignore_eos: bool) -> None:
    engine = make_engine(decoder)
    sampling = replace(GREEDY, max_tokens=20, min_tokens=10, ignore_eos=ignore_eos)
    engine.add(Request("a", (1, 2), sampling), Two())  # type: ignore[arg-type]
    tokens: list[int] = []
    reason = None
    while not engine.idle:
        for _, delta in engine.step():
            tokens += delta.tokens
            reason = delta.finish_reason
    assert len(tokens) == 3
    assert tokens.index(EOS) == 2
    assert reason == FinishReason.STOP


@pytest.mark.parametrize("prefix_cache", [False, True])
def test_preemption_changes_neither_prompt_logprobs_nor_cached_tokens(decoder: Decoder, prefix_cache: bool) -> None:
    prompts = [tuple(range(i, i + 40)) for i in range(4)]
    sampling = [replace(GREEDY, max_tokens=40, ignore_eos=True, prompt_logprobs=1 if i % 2 else None) for i in range(4)]
    requests = [Request(str(i), prompts[i], sampling[i]) for i in range(4)]
    engine = make_engine(decoder, blocks=30, prefix_cache=prefix_cache)
    together = run(engine, requests)
    assert engine.stats().preemptions > 0
    for request in requests:
        alone = run(make_engine(decoder), [request])[request.id]
        mine = together[request.id]
        assert tokens_of(mine) == tokens_of(alone)
        assert [delta.cached_tokens for delta in mine] == [0] * len(mine)
        assert [len(delta.prompt_logprobs) for delta in mine] == [len(delta.prompt_logprobs) for delta in alone]
        for a, b in zip(mine[0].prompt_logprobs, alone[0].prompt_logprobs, strict=True):
            assert (a is None) == (b is None)
            assert a is None or b is None or a.logprob == pytest.approx(b.logprob, abs=1e-3)


def test_prompt_logprobs_are_the_references(decoder: Decoder, reference: Reference) -> None:
    prompt = tuple((3 * i) % VOCABULARY for i in range(30))
    sampling = replace(GREEDY, max_tokens=1, prompt_logprobs=2)
    deltas = run(make_engine(decoder), [Request("a", prompt, sampling), Request("b", prompt, GREEDY)])["a"]
    noted = deltas[0].prompt_logprobs
    expected = reference(list(prompt)).log_softmax(-1)
    assert len(noted) == 30
    assert noted[0] is None
    for i, one in enumerate(noted[1:], start=1):
        assert one is not None
        assert one.token == prompt[i]
        assert len(one.top) == 2
        assert one.logprob == pytest.approx(float(expected[i - 1, prompt[i]]), abs=1e-3)


def test_only_the_prompt(decoder: Decoder) -> None:
    deltas = run(make_engine(decoder), [Request("a", (1, 2, 3), replace(GREEDY, max_tokens=0, prompt_logprobs=0))])["a"]
    assert len(deltas) == 1
    assert deltas[0].tokens == ()
    assert len(deltas[0].prompt_logprobs) == 3


def test_an_abort_frees_its_blocks_at_once(decoder: Decoder) -> None:
    engine = make_engine(decoder)
    engine.add(Request("a", tuple(range(20)), replace(GREEDY, max_tokens=50)))
    engine.step()
    assert engine.blocks.used > 0
    assert engine.abort("a")
    assert not engine.abort("a")
    assert engine.blocks.used == 0
    assert engine.idle
    assert engine.step() == []
    engine.check()


def test_a_passed_deadline_ends_a_request(decoder: Decoder) -> None:
    now = [10.0]
    engine = make_engine(decoder, clock=lambda: now[0])
    engine.add(Request("late", (1, 2), replace(GREEDY, max_tokens=50, ignore_eos=True), deadline_s=11.0))
    engine.add(Request("other", (1, 2), replace(GREEDY, max_tokens=50, ignore_eos=True)))
    assert all(delta.finish_reason is None for _, delta in engine.step())
    now[0] = 11.0
    ended = {request_id: delta for request_id, delta in engine.step() if delta.finish_reason}
    assert list(ended) == ["late"]
    assert ended["late"].finish_reason == FinishReason.ERROR
    assert isinstance(ended["late"].error, DeadlineExceeded)


def test_timings_add_up(decoder: Decoder) -> None:
    ticks = iter(range(10_000))
    engine = make_engine(decoder, clock=lambda: float(next(ticks)))
    last = run(engine, [Request("a", tuple(range(40)), GREEDY, arrival_s=-5.0)])["a"][-1]
    assert last.timings is not None
    assert last.timings.queue_s >= 5
    assert last.timings.prefill_s > 0
    assert last.timings.decode_s > 0


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [((), "empty"), ((VOCABULARY,), "token ids"), ((-1,), "token ids"), (tuple([1] * 120), "takes 120")],
)
def test_what_cannot_be_computed_is_refused(decoder: Decoder, prompt: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        make_engine(decoder).prepare(Request("a", prompt, GREEDY))


def test_what_was_generated_must_be_tokens_too(decoder: Decoder) -> None:
    with pytest.raises(InvalidRequest, match="token ids"):
        make_engine(decoder).prepare(Request("a", (1,), GREEDY, generated=(2, VOCABULARY)))


def test_an_id_in_use_is_refused(decoder: Decoder) -> None:
    engine = make_engine(decoder)
    engine.add(Request("a", (1,), GREEDY))
    with pytest.raises(InvalidRequest, match="in use"):
        engine.add(Request("a", (1,), GREEDY))


def test_the_first_delta_tells_what_is_known_of_the_times(decoder: Decoder) -> None:
    now = [10.0]
    engine = make_engine(decoder, clock=lambda: now[0])
    first, *between, last = run(engine, [Request("a", (1, 2, 3), replace(GREEDY, ignore_eos=True), arrival_s=8.0)])["a"]
    assert first.timings == last.timings == Timings(2.0, 0.0, 0.0)
    assert all(delta.timings is None for delta in between)
