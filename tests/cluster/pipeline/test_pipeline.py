"""Pipelines of real processes on one Ray node, which all tests here share."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import psutil
import pytest
import torch
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from torch import Tensor

from cluster.node import has_ended, local_node, node_temp_dir
from cluster.pipeline.limits import Limits
from cluster.pipeline.pipeline import Pipeline
from cluster.pipeline.placement import Resources
from engine.errors import CheckpointError, ConfigError, EngineFailed, ReplicaLost, StageLost
from engine.pipeline.message import Message
from tests.cluster.pipeline.stages import WIDTH, Adding, broken, matrix

pytestmark = pytest.mark.ray

SMALL = Resources(num_cpus=0.1)
PATIENT = Limits(repair_s=60.0, step_s=3.0)
"""Somebody else may be using this machine."""

ROWS = torch.arange(2.0 * WIDTH).reshape(2, WIDTH)
WAIT_S = 30.0


@pytest.fixture(scope="module", autouse=True)
def _node() -> Iterator[None]:
    with node_temp_dir() as folder, local_node({}, folder):
        yield


@pytest.fixture(scope="module")
def shared(_node: None) -> Iterator[Pipeline]:
    """Three stages. Each test leaves them whole and without work under way; starting them for each takes too long."""
    pipeline = Pipeline(
        [partial(Adding, index) for index in range(3)],
        labels=["layers 0", "layers 1", "layers 2"],
        spares=False,
        resources=SMALL,
        limits=PATIENT,
    )
    yield pipeline
    pipeline.close()


class Expected:
    """What stages that start with empty caches answer."""

    def __init__(self, stages: int) -> None:
        self.caches = [torch.zeros(WIDTH) for _ in range(stages)]

    def answer(self, rows: Tensor) -> Tensor:
        for index, cache in enumerate(self.caches):
            self.caches[index] = cache + rows.sum(0)
            rows = rows @ matrix(index) + self.caches[index]
        return rows


def message(number: int = 0, **meta: object) -> Message:
    return Message("x", {"n": number, **meta}, (ROWS + number,))


def pids(pipeline: Pipeline) -> list[int]:
    return [stage.pid for stage in pipeline.stages()]


def lose(pipeline: Pipeline) -> None:
    """Asks for answers until the loss is noticed."""
    with pytest.raises(StageLost):
        ask_on(pipeline)


def ask_on(pipeline: Pipeline) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        pipeline.submit(message())
        pipeline.answer()


def check_works(pipeline: Pipeline) -> None:
    """That as many messages as there are stages are answered in order, with caches anew."""
    expected = Expected(pipeline.depth)
    for number in range(pipeline.depth):
        pipeline.submit(message(number, forget=number == 0))
    for number in range(pipeline.depth):
        assert torch.equal(pipeline.answer().tensors[0], expected.answer(ROWS + number))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def below() -> set[psutil.Process]:
    """The processes that run stages."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if "StageWorker" in " ".join(process.cmdline()) and not has_ended(process):
                found.add(process)
        except psutil.NoSuchProcess:
            continue
    return found


def groups() -> set[str]:
    """The placement groups that there are."""
    return {name for name, group in placement_group_table().items() if group["state"] != "REMOVED"}


def listening() -> set[tuple[int, int]]:
    """Processes and ports at which this process and its stages listen."""
    ports = set()
    for process in {psutil.Process(), *below()}:
        ports |= {(process.pid, c.laddr.port) for c in process.net_connections("tcp") if c.status == "LISTEN"}
    return ports


def test_answers_are_those_of_one_process_in_order(shared: Pipeline) -> None:
    """With three messages under way, as many as there are stages."""
    expected = Expected(3)
    assert shared.depth == 3
    for number in range(12):
        shared.submit(message(number, forget=number == 0))
        if number >= 2:
            answer = shared.answer()
            assert answer.meta["n"] == number - 2
            assert torch.equal(answer.tensors[0], expected.answer(ROWS + number - 2))
    assert [shared.answer().meta["n"] for _ in range(2)] == [10, 11]


def test_a_batch_that_fails_is_told_in_its_place(shared: Pipeline) -> None:
    before = pids(shared)
    shared.submit(message(fail_at=0))
    shared.submit(message(1))
    with pytest.raises(EngineFailed, match="Stage 0 could not compute a batch: ValueError: this batch is bad"):
        shared.answer()
    assert shared.answer().meta["n"] == 1
    with pytest.raises(EngineFailed, match="cannot be sent"):
        shared.submit(Message("x", {"a": object()}, ()))
    check_works(shared)
    assert pids(shared) == before


def test_only_the_stage_that_died_is_replaced(shared: Pipeline) -> None:
    before, restarts = pids(shared), [stage.restarts for stage in shared.stages()]
    for number in range(3):
        shared.submit(message(number, leave_at=1))
    with pytest.raises(StageLost):
        shared.answer()
    with pytest.raises(StageLost, match="not whole"):
        shared.submit(message())
    assert [stage.state for stage in shared.stages()] == ["lost"] * 3
    shared.repair()
    after = pids(shared)
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]
    assert [stage.restarts for stage in shared.stages()] == [restarts[0], restarts[1] + 1, restarts[2]]
    check_works(shared)


def test_a_death_is_noticed_while_nothing_is_asked(shared: Pipeline) -> None:
    os.kill(pids(shared)[0], signal.SIGKILL)
    wait_until(lambda: shared.lost is not None, "nobody noticed")
    shared.repair()
    check_works(shared)


def test_a_frozen_stage_is_found_ended_and_replaced(shared: Pipeline) -> None:
    before = pids(shared)
    frozen = psutil.Process(before[1])
    os.kill(before[1], signal.SIGSTOP)
    lose(shared)
    shared.repair()
    after = pids(shared)
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]
    wait_until(lambda: has_ended(frozen), "the frozen process is still there")
    check_works(shared)


def test_a_stage_that_is_at_one_batch_for_too_long_is_replaced(shared: Pipeline) -> None:
    before = pids(shared)
    shared.submit(message(sleep_at=0, sleep_s=600.0))
    with pytest.raises(StageLost):
        shared.answer()
    assert "one batch for more than" in str(shared.lost)
    shared.repair()
    after = pids(shared)
    assert (after[0] != before[0], after[1:] == before[1:]) == (True, True)
    check_works(shared)


def test_a_broken_link_costs_no_process(shared: Pipeline) -> None:
    before = pids(shared)
    sender = shared._sender
    assert sender is not None
    sender._socket.shutdown(socket.SHUT_RDWR)
    lose(shared)
    shared.repair()
    assert pids(shared) == before
    check_works(shared)


def test_another_stage_may_die_during_the_repair(shared: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = pids(shared)
    os.kill(first, signal.SIGKILL)
    lose(shared)
    replace = shared._crew._replace

    def die_then_replace(indices: set[int], deadline: float) -> None:
        if 0 in indices:
            os.kill(second, signal.SIGKILL)
        replace(indices, deadline)

    monkeypatch.setattr(shared._crew, "_replace", die_then_replace)
    shared.repair()
    assert not {first, second} & set(pids(shared))
    assert pids(shared)[2] == third
    check_works(shared)


def test_what_cannot_be_repaired_in_time_is_lost_as_a_whole(shared: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    os.kill(pids(shared)[0], signal.SIGKILL)
    lose(shared)
    with monkeypatch.context() as patch:
        patch.setattr(shared, "limits", Limits(repair_s=0.2))
        with pytest.raises(ReplicaLost, match="not whole after"):
            shared.repair()
    shared.repair()
    check_works(shared)


def test_twenty_deaths_leave_nothing_over(shared: Pipeline) -> None:
    """Of all stages, or of some of them, at once."""
    ports, restarts = len(listening()), sum(stage.restarts for stage in shared.stages())
    for victims in ({0, 1, 2}, {0, 1}, {0, 1, 2}, {0, 2}, {0, 1, 2}, {1, 2}, {0, 1, 2}, {0, 1}):
        for index in victims:
            os.kill(pids(shared)[index], signal.SIGKILL)
        lose(shared)
        shared.repair()
    check_works(shared)
    assert sum(stage.restarts for stage in shared.stages()) == restarts + 20
    wait_until(lambda: {process.pid for process in below()} == set(pids(shared)), "processes were left")
    assert len(listening()) == ports
    assert len(shared._crew._started) == 3


def test_what_the_stages_do_is_told(shared: Pipeline) -> None:
    done = [stage.batches for stage in shared.stages()]
    for _ in range(4):
        shared.submit(message(sleep_at=1, sleep_s=0.3))
        shared.answer()
    wait_until(lambda: shared.stages()[1].batches >= done[1] + 4, "no beat came")
    first, second, _ = shared.stages()
    assert (first.layers, first.state, second.index) == ("layers 0", "ready", 1)
    assert first.node == shared._crew.host, "there is one node"
    assert second.weight_bytes == WIDTH * WIDTH * 4
    assert min(first.memory_bytes, first.peak_memory_bytes) > 0
    assert second.shares.busy > first.shares.busy
    assert first.shares.waiting > 0
    assert 0 < first.shares.active <= 1


def test_batches_are_traced_while_that_is_asked_for(shared: Pipeline) -> None:
    shared.trace(on=True)
    check_works(shared)
    shared.trace(on=False)
    wait_until(lambda: shared.stages()[2].batches > 0, "no beat came")
    check_works(shared)
    traces = shared.take_trace()
    assert [[batch.rows for batch in trace] for trace in traces] == [[2, 2, 2]] * 3
    for one, other in pairwise(traces):
        assert all(before.computed <= after.received for before, after in zip(one, other, strict=True))
    assert shared.take_trace() == [[], [], []]


def test_a_spare_takes_over_and_closing_leaves_nothing(shared: Pipeline) -> None:
    others, ports = below(), listening()
    pipeline = Pipeline([partial(Adding, 0)], spares=True, resources=SMALL, limits=PATIENT)
    try:
        (stage,) = pids(pipeline)
        wait_until(lambda: len(below() - others) == 2, "no spare was started")
        (spare,) = (process.pid for process in below() - others if process.pid != stage)
        os.kill(stage, signal.SIGKILL)
        lose(pipeline)
        pipeline.repair()
        assert pids(pipeline) == [spare]
        check_works(pipeline)
        wait_until(lambda: len(below() - others) == 2, "no other spare was started")
        group = pipeline._crew._own_group
        assert group is not None
    finally:
        pipeline.close()
    wait_until(lambda: below() == others, "processes were left")
    assert listening() <= ports
    wait_until(lambda: placement_group_table(group)["state"] == "REMOVED", "the placement group was left")
    with pytest.raises(StageLost, match="closed"):
        pipeline.submit(message())
    pipeline.close()


def test_a_start_that_fails_leaves_nothing(shared: Pipeline) -> None:
    others = below()
    with pytest.raises(CheckpointError, match="damaged"):
        Pipeline([broken], resources=SMALL, limits=PATIENT)
    wait_until(lambda: below() == others, "processes were left")
    with pytest.raises(ConfigError, match="no room"):
        Pipeline([broken], resources=Resources(num_cpus=1000), limits=Limits(start_s=0.5))
    wait_until(lambda: len(groups()) == 1, "a placement group was left")


def test_stages_lie_in_the_group_that_is_given() -> None:
    group = placement_group([{"CPU": 0.1}, {"CPU": 0.1}])
    try:
        assert group.wait(WAIT_S)
        pipeline = Pipeline([partial(Adding, 0)], spares=False, placement_group=group, resources=SMALL, limits=PATIENT)
        try:
            check_works(pipeline)
        finally:
            pipeline.close()
        assert group.id.hex() in groups(), "it is not the pipeline's to remove"
        with pytest.raises(ConfigError, match="do not fit into 2 bundles"):
            Pipeline([broken] * 2, placement_group=group, resources=SMALL, limits=PATIENT)
    finally:
        remove_placement_group(group)
