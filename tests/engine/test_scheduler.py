"""The scheduler alone, with tokens that nobody computes."""

from __future__ import annotations

import itertools
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.block_manager import BlockManager
from engine.request import Request, SamplingParams
from engine.sampling.row import Row
from engine.scheduler import Chunk, Scheduler
from engine.sequence import Sequence

SIZE = 4


class Bench:
    """A scheduler, and the bookkeeping that the engine would do around it."""

    def __init__(
        self, blocks: int, budget: int = 16, running: int = 8, prefix_cache: bool = True, double_at: int = 0
    ) -> None:
        self.scheduler = Scheduler(BlockManager(blocks, SIZE, prefix_cache), budget, running, double_at=double_at)
        self.orders = itertools.count()
        self.budget = budget

    def add(self, prompt: list[int], answer: int = 1, priority: int = 0) -> Sequence:
        order = next(self.orders)
        params = SamplingParams(max_tokens=answer)
        request = Request(str(order), tuple(prompt), params, priority=priority)
        sequence = Sequence(request, order, Row(params, request.prompt, []), list(prompt))
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> list[Chunk]:
        chunks = self.scheduler.schedule()
        self.scheduler.check()
        assert sum(chunk.count for chunk in chunks) <= self.budget
        assert len({chunk.sequence.order for chunk in chunks}) == len(chunks)
        for chunk in chunks:
            sequence = chunk.sequence
            assert chunk.count > 0
            assert sequence.running
            assert len(sequence.blocks) * SIZE >= sequence.computed == chunk.start + chunk.count
            self.scheduler.landed(chunk)
            if chunk.last:
                sequence.tokens.append(1000 + sequence.order)
                if sequence.generated >= sequence.request.sampling.max_tokens:
                    self.scheduler.remove(sequence)
        self.scheduler.check()
        return chunks


def prompt(length: int, first: int = 0) -> list[int]:
    return list(range(first, first + length))


def test_what_a_preempted_prompt_computed_itself_is_no_cache_hit() -> None:
    bench = Bench(blocks=4, budget=2)
    bench.add(prompt(4, first=50), answer=8)
    preempted = bench.add(prompt(10))
    while bench.scheduler.running or bench.scheduler.waiting:
        bench.step()
    assert bench.scheduler.preemptions == 1
    assert preempted.cached == 0


def test_a_long_prompt_runs_in_chunks_beside_decoding() -> None:
    bench = Bench(blocks=40, budget=8)
    short = bench.add(prompt(4), answer=10)
    bench.step()
    long = bench.add(prompt(20, first=100), answer=2)
    counts = [{chunk.sequence.order: chunk.count for chunk in bench.step()} for _ in range(3)]
    assert counts == [{short.order: 1, long.order: 7}, {short.order: 1, long.order: 7}, {short.order: 1, long.order: 6}]


def counts_of(bench: Bench) -> dict[int, int]:
    return {chunk.sequence.order: chunk.count for chunk in bench.step()}


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    bench = Bench(blocks=100, budget=16)
    long = bench.add(prompt(60), answer=2)
    assert counts_of(bench) == {long.order: 16}
    short = bench.add(prompt(6, first=100))
    assert counts_of(bench) == {long.order: 8, short.order: 6}
    assert counts_of(bench) == {long.order: 16}


def test_long_prompts_leave_no_room_unused() -> None:
    bench = Bench(blocks=100, budget=16)
    several = [bench.add(prompt(60, first=100 * i)) for i in range(3)]
    assert counts_of(bench) == {several[0].order: 8, several[1].order: 4, several[2].order: 4}


def test_a_prompt_that_may_wait_takes_nothing_from_another() -> None:
    bench = Bench(blocks=100, budget=16)
    long = bench.add(prompt(60))
    bench.add(prompt(60, first=100), priority=1)
    assert counts_of(bench) == {long.order: 16}


def test_who_cannot_run_is_not_waited_for() -> None:
    bench = Bench(blocks=100, budget=16, running=1)
    long = bench.add(prompt(60))
    bench.add(prompt(4, first=100))
    assert counts_of(bench) == {long.order: 16}


def test_chunks_become_smaller_as_there_is_more_to_look_back_at() -> None:
    bench = Bench(blocks=100, budget=64, double_at=64)
    long = bench.add(prompt(200))
    steps = []
    while long in bench.scheduler.running or long in bench.scheduler.waiting:
        steps.append(counts_of(bench)[long.order])
    assert steps == [64, 32, 25, 22, 19, 18, 16, 4]


def test_first_come_first_served_within_a_priority() -> None:
    bench = Bench(blocks=40, running=1)
    late_but_urgent = [bench.add(prompt(3), answer=1) for _ in range(2)] + [bench.add(prompt(3), priority=-1)]
    order = [bench.step()[0].sequence.order for _ in range(3)]
    assert order == [late_but_urgent[2].order, late_but_urgent[0].order, late_but_urgent[1].order]


def test_an_urgent_request_takes_the_place_of_a_running_one() -> None:
    bench = Bench(blocks=40, running=1)
    patient = bench.add(prompt(4), answer=5)
    bench.step()
    urgent = bench.add(prompt(4, first=50), answer=1, priority=-1)
    assert [chunk.sequence for chunk in bench.step()] == [urgent]
    assert not patient.running
    assert patient.generated == 1
    assert [chunk.sequence for chunk in bench.step()] == [patient]


def test_equals_do_not_push_each_other_out() -> None:
    bench = Bench(blocks=40, running=1)
    first = bench.add(prompt(4), answer=3)
    bench.step()
    bench.add(prompt(4))
    assert [chunk.sequence for chunk in bench.step()] == [first]
    assert bench.scheduler.preemptions == 0


def test_a_common_beginning_is_computed_once() -> None:
    bench = Bench(blocks=40)
    bench.add(prompt(10))
    bench.step()
    again = bench.add(prompt(10))
    chunks = bench.step()
    assert [chunk.count for chunk in chunks] == [2]
    assert again.cached == 8


def test_prompt_logprobs_need_every_token() -> None:
    bench = Bench(blocks=40)
    bench.add(prompt(10))
    bench.step()
    params = SamplingParams(max_tokens=1, prompt_logprobs=0)
    request = Request("x", tuple(prompt(10)), params)
    bench.scheduler.add(Sequence(request, 99, Row(params, request.prompt, []), prompt(10)))
    assert [chunk.count for chunk in bench.step()] == [10]


def test_short_memory_sends_the_last_back_and_loses_nothing() -> None:
    bench = Bench(blocks=6, prefix_cache=False)
    sequences = [bench.add(prompt(7, first=100 * i), answer=12) for i in range(2)]
    steps = 0
    while bench.scheduler.waiting or bench.scheduler.running:
        assert bench.step()
        steps += 1
        assert steps < 200
    assert bench.scheduler.preemptions > 0
    assert [sequence.generated for sequence in sequences] == [12, 12]
    assert bench.scheduler.blocks.used == 0


@settings(max_examples=150, deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.integers(1, 20), st.integers(1, 8), st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=12
    ),
    blocks=st.integers(7, 30),
    budget=st.integers(1, 20),
    running=st.integers(1, 6),
    aborted=st.sets(st.integers(0, 11)),
    double_at=st.integers(0, 20),
)
def test_everything_ends_whatever_comes(
    requests: list[tuple[int, int, int, int]],
    blocks: int,
    budget: int,
    running: int,
    aborted: set[int],
    double_at: int,
) -> None:
    bench = Bench(blocks, budget, running, double_at=double_at)
    sequences = []
    for length, answer, priority, text in requests:
        sequences.append(bench.add(prompt(length, first=100 * text), answer, priority))
        bench.step()
    for i in aborted & set(range(len(sequences))):
        if sequences[i].running or sequences[i] in bench.scheduler.waiting:
            bench.scheduler.remove(sequences[i])
            sequences[i].tokens += [0] * 100
    steps = 0
    while bench.scheduler.waiting or bench.scheduler.running:
        assert bench.step(), "nothing is scheduled although something is left"
        steps += 1
        assert steps < 3000
    assert all(s.generated >= s.request.sampling.max_tokens for s in sequences)
    assert bench.scheduler.blocks.used == 0


@pytest.mark.parametrize(("budget", "running", "depth"), [(64, 64, 2), (64, 60, 4), (3, 3, 2), (512, 64, 2)])
def test_nobody_who_decodes_starves_where_several_steps_are_under_way(budget: int, running: int, depth: int) -> None:
    scheduler = Scheduler(BlockManager(40 * running, SIZE, True), budget, running, depth)
    sequences = []
    for order in range(running):
        params = SamplingParams(max_tokens=1000)
        request = Request(str(order), (order, 1, 2), params)
        sequences.append(Sequence(request, order, Row(params, request.prompt, []), list(request.prompt)))
        scheduler.add(sequences[-1])
    under_way: deque[list[Chunk]] = deque()

    def step() -> None:
        while len(under_way) < depth and (chunks := scheduler.schedule()):
            assert sum(chunk.count for chunk in chunks) <= budget
            under_way.append(chunks)
        for chunk in under_way.popleft():
            scheduler.landed(chunk)
            if chunk.last:
                chunk.sequence.tokens.append(7)

    while any(sequence.computed < 3 for sequence in sequences):
        step()
    before = [sequence.generated for sequence in sequences]
    for _ in range(10 * depth):
        step()
    gained = [sequence.generated - since for sequence, since in zip(sequences, before, strict=True)]
    assert min(gained) >= 9
