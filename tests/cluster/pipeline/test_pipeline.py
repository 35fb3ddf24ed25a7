"""Pipelines of real processes on one Ray node, which all tests here share."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from ray.exceptions import RpcError
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from torch import Tensor

from cluster.node import has_ended, local_node, node_temp_dir
from cluster.pipeline.crew import NotYet
from cluster.pipeline.handshake import Place
from cluster.pipeline.limits import Limits
from cluster.pipeline.link import Address, LinkLimits
from cluster.pipeline.pipeline import Pipeline
from cluster.pipeline.placement import Resources
from engine.errors import CheckpointError, ConfigError, EngineFailed, ReplicaLost, SourceError, StageLost
from engine.pipeline.message import Message
from tests.cluster.pipeline.stages import WIDTH, Adding, broken, brought, matrix, not_to_be_had, slow_again
from tests.waiting import wait_until

pytestmark = pytest.mark.ray

SMALL = Resources(num_cpus=0.1)
PATIENT = Limits(repair_s=60.0, step_s=2.0, link=LinkLimits(connect_s=2.0))
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


def break_link(pipeline: Pipeline) -> None:
    """That of the last stage to the driver; waits until that is noticed, though nothing is asked."""
    assert pipeline._receiver is not None
    pipeline._receiver._socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: pipeline.lost is not None, "nobody noticed")


def check_works(pipeline: Pipeline) -> None:
    """That as many messages as there are stages are answered in order, with caches anew."""
    expected = Expected(pipeline.depth)
    for number in range(pipeline.depth):
        pipeline.submit(message(number, forget=number == 0))
    for number in range(pipeline.depth):
        assert torch.equal(pipeline.answer().tensors[0], expected.answer(ROWS + number))


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
    with pytest.raises(EngineFailed, match=r"^Stage 0 could not compute a batch: ValueError\. The log of that stage"):
        shared.answer()
    assert shared.answer().meta["n"] == 1
    with pytest.raises(EngineFailed, match="cannot be sent"):
        shared.submit(Message("x", {"a": object()}, ()))
    check_works(shared)
    assert pids(shared) == before


def test_a_profile_of_all_stages_while_they_work(shared: Pipeline) -> None:
    """A stage that is lost while it is taken is told, and the others' parts are there."""
    check_works(shared)
    assert shared.prepare_profile() == []
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(shared.profile, 0.5)
        while not taken.done():
            shared.submit(message(7))
            shared.answer()
    for index, one in enumerate(taken.result()):
        assert one.name == f"stage {index}: layers layers {index}"
        assert one.part is not None
        assert one.part.pid == shared.stages()[index].pid
        events = json.loads(gzip.decompress(one.part.trace))["traceEvents"]
        batches = [event for event in events if event["name"].startswith("batch ")]
        assert {one.part.threads[event["tid"]] for event in batches} == {"stage_0"}
        assert {event["name"].partition(": ")[2] for event in batches} == {"x, 2 rows"}
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(shared.profile, 1.5)
        time.sleep(0.3)
        os.kill(shared.stages()[1].pid, signal.SIGKILL)
        lose(shared)
        shared.repair()
        first, lost, last = taken.result()
    assert first.part is not None
    assert last.part is not None
    assert lost.part is None
    assert lost.why
    check_works(shared)


def test_stacks_of_all_stages(shared: Pipeline) -> None:
    for text in shared.stacks(WAIT_S):
        assert "Thread stage_0 (" in text
        assert "receive" in text, "it waits for work"


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
    break_link(shared)
    shared.repair()
    assert pids(shared) == before
    check_works(shared)


def test_repairs_that_bring_no_answer_come_to_an_end(shared: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch may be what kills a stage."""
    with monkeypatch.context() as patch:
        patch.setattr(shared, "limits", replace(PATIENT, repairs=2))
        for _ in range(2):
            break_link(shared)
            shared.repair()
        break_link(shared)
        with pytest.raises(ReplicaLost, match="repaired 2 times without an answer, then: "):
            shared.repair()
    shared.repair()
    check_works(shared)
    break_link(shared)
    shared.repair()
    check_works(shared)


def test_a_ring_is_not_whole_while_a_link_between_stages_is_not(
    shared: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here stage 0 is linked to somebody who says nothing, at the first try."""
    before = pids(shared)
    serve, tries = shared._crew.serve, 0
    with socket.create_server((shared._crew.host, 0)) as nobody:

        def serve_wrongly(to: Sequence[Address], places: Sequence[Place]) -> list[Any]:
            nonlocal tries
            tries += 1
            return serve([nobody.getsockname(), *to[1:]] if tries == 1 else to, places)

        monkeypatch.setattr(shared._crew, "serve", serve_wrongly)
        break_link(shared)
        shared.repair()
    check_works(shared)
    assert (tries >= 2, pids(shared)) == (True, before)


def test_whatever_goes_wrong_in_a_repair_loses_the_replica(shared: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(*_: object) -> None:
        raise RpcError("the cluster's head does not answer")

    break_link(shared)
    with monkeypatch.context() as patch:
        patch.setattr(shared._crew, "gather", gather)
        with pytest.raises(ReplicaLost, match="could not be repaired: the cluster's head") as raised:
            shared.repair()
    assert isinstance(raised.value.__cause__, RpcError)
    shared.repair()
    check_works(shared)


def test_a_survivor_may_finish_a_long_batch(shared: Pipeline) -> None:
    before = pids(shared)
    shared.submit(message(sleep_at=0, sleep_s=1.0))
    break_link(shared)
    shared.repair()
    assert pids(shared) == before
    check_works(shared)


@pytest.mark.parametrize(
    ("limits", "unreachable"),
    [(replace(PATIENT, repair_s=0.2), False), (replace(PATIENT, unreachable_s=0.2), True)],
)
def test_what_cannot_be_repaired_in_time_is_lost_as_a_whole(
    shared: Pipeline, monkeypatch: pytest.MonkeyPatch, limits: Limits, unreachable: bool
) -> None:
    def gather(*_: object) -> None:
        raise NotYet("it is somewhere else", unreachable=unreachable)

    break_link(shared)
    with monkeypatch.context() as patch:
        patch.setattr(shared, "limits", limits)
        patch.setattr(shared._crew, "gather", gather)
        with pytest.raises(ReplicaLost, match="not whole after 0 s: it is somewhere else"):
            shared.repair()
    shared.repair()
    check_works(shared)


def test_six_deaths_leave_nothing_over(shared: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all stages at once while nothing is asked, of one, and of two of which the second dies during the repair."""
    ports, restarts = len(listening()), [stage.restarts for stage in shared.stages()]
    replace_them = shared._crew._replace

    def die_then_replace(indices: set[int], deadline: float) -> None:
        if indices == {0}:
            os.kill(pids(shared)[1], signal.SIGKILL)
        replace_them(indices, deadline)

    monkeypatch.setattr(shared._crew, "_replace", die_then_replace)
    for victims in ({0, 1, 2}, {2}, {0}):
        for pid in [pids(shared)[index] for index in victims]:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: shared.lost is not None, "nobody noticed")
        shared.repair()
        check_works(shared)
    assert [stage.restarts for stage in shared.stages()] == [before + 2 for before in restarts]
    wait_until(lambda: {process.pid for process in below()} == set(pids(shared)), "processes were left")
    assert len(listening()) == ports
    assert len(shared._crew._started) == 3


def test_what_the_stages_do_is_told(shared: Pipeline) -> None:
    done, began = [stage.batches for stage in shared.stages()], time.monotonic()
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
    meanwhile = shared.meanwhile(began, time.monotonic())
    assert [(one.index, one.layers) for one in meanwhile] == [(0, "layers 0"), (1, "layers 1"), (2, "layers 2")]
    assert meanwhile[1].shares.busy > 2 * meanwhile[0].shares.busy
    assert shared.meanwhile(0.0, 1.0) == [], "no such stage was there"


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
        assert len(pipeline._crew._spares) == 1, "another one is started"
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


def test_closing_ends_a_repair(shared: Pipeline, tmp_path: Path) -> None:
    others = below()
    pipeline = Pipeline([partial(slow_again, tmp_path / "was here")], spares=False, resources=SMALL, limits=PATIENT)
    try:
        os.kill(pids(pipeline)[0], signal.SIGKILL)
        wait_until(lambda: pipeline.lost is not None, "nobody noticed")
        with ThreadPoolExecutor(1) as pool:
            repairing = pool.submit(pipeline.repair)
            wait_until(lambda: pipeline.stages()[0].restarts == 1, "nothing was started")
            pipeline.close()
            with pytest.raises(ReplicaLost, match="closed"):
                repairing.result(WAIT_S)
    finally:
        pipeline.close()
    wait_until(lambda: below() == others, "processes were left")


def test_a_start_that_fails_leaves_nothing(shared: Pipeline) -> None:
    others = below()
    with pytest.raises(CheckpointError, match="damaged"):
        Pipeline([broken], resources=SMALL, limits=PATIENT)
    with pytest.raises(SourceError, match="nobody has it"):
        Pipeline([partial(Adding, 0)], resources=SMALL, limits=PATIENT, supply=not_to_be_had)
    wait_until(lambda: below() == others, "processes were left")
    with pytest.raises(ConfigError, match="no room"):
        Pipeline([broken], resources=Resources(num_cpus=1000), limits=Limits(start_s=0.5))
    wait_until(lambda: len(groups()) == 1, "a placement group was left")


def test_stages_lie_in_the_group_that_is_given(tmp_path: Path) -> None:
    """And what they are loaded from is brought to where they are, by the processes that load it then."""
    group = placement_group([{"CPU": 0.1}, {"CPU": 0.1}])
    try:
        assert group.wait(WAIT_S)
        pipeline = Pipeline(
            [partial(Adding, 0)],
            spares=False,
            placement_group=group,
            resources=SMALL,
            limits=PATIENT,
            supply=partial(brought, tmp_path),
        )
        try:
            check_works(pipeline)
            assert [path.name for path in tmp_path.iterdir()] == [str(pid) for pid in pids(pipeline)]
        finally:
            pipeline.close()
        assert group.id.hex() in groups(), "it is not the pipeline's to remove"
        with pytest.raises(ConfigError, match="do not fit into 2 bundles"):
            Pipeline([broken] * 2, placement_group=group, resources=SMALL, limits=PATIENT)
    finally:
        remove_placement_group(group)
