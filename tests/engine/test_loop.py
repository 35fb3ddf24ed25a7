"""The engine's thread: messages in, deltas out, nothing lost and nothing left over."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Iterator

import pytest

from engine.checkpoint import open_checkpoint
from engine.engine import Engine, Limits, Output, Stats
from engine.errors import EngineFailed, InvalidRequest, Overloaded, ReplicaLost, StageLost
from engine.kernels import select_kernels
from engine.loop import FAILED_STEPS_IN_A_ROW, EngineLoop
from engine.models import Decoder, load_decoder
from engine.pipeline.generation import Answer, DecoderLayers
from engine.pipeline.runner import LocalRunner
from engine.request import Delta, FinishReason, Request, SamplingParams
from engine.sampling.grammar_state import CompiledGrammar
from tests.engine.tiny import write_checkpoint

LIMITS = Limits(
    max_model_len=100, blocks=40, block_size=4, max_batch_tokens=16, max_running=2, max_waiting=3, prefix_cache=True
)
TIMEOUT_S = 30.0
Loop = EngineLoop[Request, CompiledGrammar | None, Delta, Stats]


def engine_of(loop: Loop) -> Engine:
    assert isinstance(loop.engine, Engine)
    return loop.engine


class Collected:
    """What the loop delivered, by request."""

    def __init__(self) -> None:
        self.deltas: dict[str, list[Delta]] = defaultdict(list)
        self.changed = threading.Condition()

    def __call__(self, outputs: list[Output]) -> None:
        with self.changed:
            for request_id, delta in outputs:
                self.deltas[request_id].append(delta)
            self.changed.notify_all()

    def last(self, request_id: str) -> Delta:
        """The request's last delta, once it is there."""
        with self.changed:
            ended = self.changed.wait_for(
                lambda: self.deltas[request_id] and self.deltas[request_id][-1].finish_reason, TIMEOUT_S
            )
            assert ended, f"{request_id} was not finished"
            return self.deltas[request_id][-1]

    def some(self, request_id: str) -> None:
        """Waits for its first delta."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.deltas[request_id], TIMEOUT_S)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = tmp_path_factory.mktemp("llama")
    write_checkpoint("llama", folder)
    import torch

    with open_checkpoint(folder) as checkpoint:
        return load_decoder(checkpoint, select_kernels("cpu", torch.float32), LIMITS.max_model_len)


@pytest.fixture
def collected() -> Collected:
    return Collected()


@pytest.fixture
def loop(decoder: Decoder, collected: Collected) -> Iterator[Loop]:
    loop = EngineLoop(lambda: engine_for(decoder), collected)
    loop.start()
    yield loop
    loop.stop(TIMEOUT_S)


def engine_for(decoder: Decoder) -> Engine:
    caches = [decoder.kernels.make_cache(LIMITS.blocks, LIMITS.block_size, decoder.arch.heads) for _ in decoder.layers]
    return Engine(LocalRunner(DecoderLayers(decoder, caches).compute), LIMITS, decoder.arch.vocab_size)


def endless(name: str) -> Request:
    return Request(name, (1, 2, 3), SamplingParams(max_tokens=10_000, temperature=0, ignore_eos=True))


def brief(name: str, tokens: int = 5) -> Request:
    return Request(name, (1, 2, 3), SamplingParams(max_tokens=tokens, temperature=0, ignore_eos=True))


def test_requests_from_several_threads_are_all_answered(loop: Loop, collected: Collected) -> None:
    threads = [threading.Thread(target=loop.submit, args=(brief(f"r{i}"),)) for i in range(5)]
    for thread in threads:
        thread.start()
    for i in range(5):
        assert collected.last(f"r{i}").finish_reason == FinishReason.LENGTH
        assert sum(len(delta.tokens) for delta in collected.deltas[f"r{i}"]) == 5
    assert loop.open_requests == 0


def test_a_full_queue_refuses_at_once(loop: Loop, collected: Collected) -> None:
    for i in range(LIMITS.max_running + LIMITS.max_waiting):
        loop.submit(endless(f"r{i}"))
    with pytest.raises(Overloaded) as refusal:
        loop.submit(brief("late"))
    assert refusal.value.retry_after_s > 0
    loop.abort("r0")
    collected.some("r2")  # takes r0's place
    loop.submit(brief("in time"))


def test_an_abort_ends_a_request_without_another_word(
    loop: Loop, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, count, aborted = engine_of(loop).runner.answer, itertools.count(), threading.Event()

    def held_back() -> Answer:
        if next(count):  # it would reach the end of the context otherwise, where this thread is slow
            assert aborted.wait(TIMEOUT_S)
        return answer()

    monkeypatch.setattr(engine_of(loop).runner, "answer", held_back)
    loop.submit(endless("a"))
    collected.some("a")
    loop.abort("a")
    aborted.set()
    loop.submit(brief("b"))
    collected.last("b")
    assert all(delta.finish_reason is None for delta in collected.deltas["a"])
    assert loop.open_requests == 0
    assert loop.stats().running == 0
    assert loop.stats().blocks_used == 0


def test_an_abort_of_nobody_changes_nothing(loop: Loop, collected: Collected) -> None:
    loop.abort("nobody")
    loop.submit(brief("a"))
    collected.last("a")
    loop.abort("a")  # finished already
    loop.submit(brief("b"))
    collected.last("b")
    assert loop.open_requests == 0


def test_what_cannot_be_computed_is_refused_on_the_spot(loop: Loop) -> None:
    with pytest.raises(InvalidRequest):
        loop.submit(Request("a", (), SamplingParams(max_tokens=1)))
    assert loop.open_requests == 0


def test_an_id_in_use_is_refused_and_its_owner_goes_on(loop: Loop, collected: Collected) -> None:
    loop.submit(brief("a", tokens=50))
    with pytest.raises(InvalidRequest):
        loop.submit(brief("a", tokens=50))
    assert collected.last("a").finish_reason == FinishReason.LENGTH
    assert sum(len(delta.tokens) for delta in collected.deltas["a"]) == 50
    assert loop.open_requests == 0
    loop.submit(brief("a"))  # free again


def test_a_failed_step_ends_its_requests_and_not_the_loop(
    loop: Loop, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine_of(loop).runner, "answer", lambda: 1 / 0)
        loop.submit(brief("a"))
        assert isinstance(collected.last("a").error, EngineFailed)
    loop.submit(brief("b"))
    assert collected.last("b").finish_reason == FinishReason.LENGTH
    assert loop.healthy


def test_steps_that_keep_failing_make_it_unhealthy(
    loop: Loop, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_of(loop).runner, "answer", lambda: 1 / 0)
    for i in range(FAILED_STEPS_IN_A_ROW):
        loop.submit(brief(f"r{i}"))
        collected.last(f"r{i}")
    loop.stop(TIMEOUT_S)
    assert not loop.healthy
    with pytest.raises(ReplicaLost):
        loop.submit(brief("late"))


def test_steps_in_which_nothing_is_computed_prove_nothing(
    loop: Loop, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failure, where what is under way besides is not wanted any more."""
    engine = engine_of(loop)
    step, count = engine.step, itertools.count()

    def failing() -> list[Output]:
        if next(count) % 2:
            monkeypatch.setattr(engine.runner, "broken", False, raising=False)
            engine.last_step_tokens = 0
            return []
        monkeypatch.setattr(engine.runner, "broken", True, raising=False)  # so that there is a next step
        return step()

    def fail() -> None:
        raise EngineFailed("out of memory")

    monkeypatch.setattr(engine.runner, "repair", fail)
    monkeypatch.setattr(engine, "step", failing)
    for i in range(FAILED_STEPS_IN_A_ROW):
        loop.submit(brief(f"r{i}"))
        assert isinstance(collected.last(f"r{i}").error, EngineFailed)
    loop._thread.join(TIMEOUT_S)
    assert not loop.healthy


def test_an_engine_that_cannot_be_made_says_why(collected: Collected) -> None:
    with pytest.raises(ZeroDivisionError):
        EngineLoop(lambda: 1 / 0, collected).start(TIMEOUT_S)  # type: ignore[arg-type,return-value]


def test_stopping_tells_those_that_still_wait(loop: Loop, collected: Collected) -> None:
    loop.submit(endless("a"))
    collected.some("a")
    loop.stop(TIMEOUT_S)
    assert isinstance(collected.last("a").error, ReplicaLost)
    with pytest.raises(ReplicaLost):
        loop.submit(brief("late"))


def test_what_a_failed_step_had_ended_already_is_still_answered(
    loop: Loop, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine_of(loop).scheduler, "schedule", lambda: 1 / 0)
        loop.submit(Request("late", (1, 2, 3), SamplingParams(max_tokens=5), deadline_s=1.0))
        assert collected.last("late").error is not None
    assert loop.open_requests == 0


def test_what_cannot_be_taken_in_fails_alone(loop: Loop, collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    add = loop.engine.add
    loop.submit(brief("a", tokens=50))
    with monkeypatch.context() as patch:
        patch.setattr(
            loop.engine, "add", lambda request, grammar: add(request, grammar) if request.id != "bad" else 1 / 0
        )
        loop.submit(brief("bad"))
        assert isinstance(collected.last("bad").error, EngineFailed)
    assert collected.last("a").finish_reason == FinishReason.LENGTH
    assert loop.healthy
    assert loop.open_requests == 0


def test_what_comes_during_the_last_step_is_answered_too(
    loop: Loop, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(FAILED_STEPS_IN_A_ROW))

    def fail() -> None:
        loop.submit(brief(f"during {next(steps)}"))
        raise ZeroDivisionError

    monkeypatch.setattr(engine_of(loop).runner, "answer", fail)
    loop.submit(brief("a"))
    for i in range(FAILED_STEPS_IN_A_ROW):
        assert isinstance(collected.last(f"during {i}").error, EngineFailed)
    assert loop.open_requests == 0
    assert not loop.healthy
    with pytest.raises(EngineFailed):
        loop.submit(brief("late"))


def test_a_reader_that_fails_ends_the_loop_and_is_seen(decoder: Decoder) -> None:
    loop = EngineLoop(lambda: engine_for(decoder), lambda outputs: 1 / 0)  # type: ignore[arg-type]
    loop.start()
    loop.submit(brief("a"))
    loop._thread.join(TIMEOUT_S)
    assert not loop.healthy
    assert loop.open_requests == 0


def test_of_several_as_many_are_taken_as_there_is_room_for(loop: Loop, collected: Collected) -> None:
    room = LIMITS.max_running + LIMITS.max_waiting
    names = [str(i) for i in range(room + 2)]
    refused = loop.enqueue_all([(brief(name), loop.prepare(brief(name))) for name in [*names, "0"]])
    assert refused[:room] == [None] * room
    assert [type(error) for error in refused[room:]] == [Overloaded, Overloaded, InvalidRequest]
    assert [collected.last(name).finish_reason for name in names[:room]] == [FinishReason.LENGTH] * room
    assert loop.open_requests == 0


def test_a_patient_engine_waits_for_more_before_it_steps(
    loop: Loop, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    step = engine_of(loop).step

    def counted() -> list[Output]:
        sizes.append(len(loop.engine.requests))
        return step()

    # Patient until a second one is there.
    monkeypatch.setattr(Engine, "patience_s", property(lambda engine: 30.0 if len(engine.requests) == 1 else 0.0))
    monkeypatch.setattr(loop.engine, "step", counted)
    loop.submit(brief("a", tokens=1))
    loop.submit(brief("b", tokens=1))
    assert collected.last("a").tokens
    assert collected.last("b").tokens
    assert sizes == [2]


def test_a_replica_that_is_lost_says_so_to_all(
    loop: Loop, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose() -> None:
        raise StageLost("a stage was lost")

    def give_up() -> None:
        raise ReplicaLost("it cannot be replaced")

    loop.submit(endless("a"))
    collected.some("a")
    monkeypatch.setattr(engine_of(loop).runner, "repair", give_up)
    monkeypatch.setattr(engine_of(loop).runner, "answer", lose)
    assert isinstance(collected.last("a").error, ReplicaLost)
    loop.stop(TIMEOUT_S)
    assert not loop.healthy
    with pytest.raises(ReplicaLost):
        loop.submit(brief("late"))


def test_requests_outlive_a_stage(loop: Loop, collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = engine_of(loop).runner
    answer, repaired, count = runner.answer, threading.Event(), itertools.count()

    def lose_once() -> Answer:
        if next(count) == 7:
            answer()
            raise StageLost("a stage was lost")
        return answer()

    monkeypatch.setattr(runner, "answer", lose_once)
    monkeypatch.setattr(runner, "repair", repaired.set)
    loop.submit(brief("a", tokens=20))
    assert collected.last("a").finish_reason == FinishReason.LENGTH
    assert repaired.is_set()
    lost = [token for delta in collected.deltas["a"] for token in delta.tokens]
    loop.submit(brief("b", tokens=20))
    assert collected.last("b").finish_reason == FinishReason.LENGTH
    assert lost == [token for delta in collected.deltas["b"] for token in delta.tokens]


def test_what_is_lost_while_nobody_asks_is_repaired(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, repaired = engine_of(loop).runner, threading.Event()

    def repair() -> None:
        monkeypatch.setattr(runner, "broken", False, raising=False)
        repaired.set()

    monkeypatch.setattr(runner, "repair", repair)
    monkeypatch.setattr(runner, "broken", True, raising=False)
    assert repaired.wait(TIMEOUT_S)
    loop.submit(brief("a"))
    assert loop.healthy
