"""Calls of several texts on a replica without Serve: results in order, errors apart, and nothing left over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from deployments.compute_replica import ComputeReplica
from deployments.replica_metrics import Measures, load_gauges
from engine.errors import EngineFailed, InvalidRequest, Overloaded, StagelineError


@dataclass(frozen=True)
class Square:
    """A request: the square of `number`; negative numbers fail."""

    id: str
    number: int


@dataclass(frozen=True)
class Squared:
    value: int = 0
    error: Exception | None = None
    finished: bool = True


@dataclass(frozen=True)
class Limits:
    max_running: int = 2
    max_waiting: int = 6
    max_batch_tokens: int = 2


class Squares:
    """Two numbers a step, one step each time that `gate` is opened."""

    limits = Limits()
    patience_s = 0.0
    last_step_tokens = 0

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate
        self.requests: dict[str, Square] = {}

    @property
    def idle(self) -> bool:
        return not self.requests

    def prepare(self, request: Square) -> None:
        if request.number > 1000:
            raise InvalidRequest("too large")

    def add(self, request: Square, prepared: None) -> None:
        self.requests[request.id] = request

    def abort(self, request_id: str) -> bool:
        return self.requests.pop(request_id, None) is not None

    def step(self) -> list[tuple[str, Squared]]:
        if not self.gate.wait(0.005):
            return []
        batch = [self.requests.pop(name) for name in list(self.requests)[:2]]
        return [
            (one.id, Squared(one.number**2) if one.number >= 0 else self.failed(EngineFailed("negative")))
            for one in batch
        ]

    def close(self) -> None:
        self.requests.clear()

    def stats(self) -> int:
        return len(self.requests)

    def failed(self, error: StagelineError) -> Squared:
        return Squared(error=error)


class SquareReplica(ComputeReplica[Square, Squared, int]):
    def renamed(self, request: Square, request_id: str) -> Square:
        return replace(request, id=request_id)

    def size(self, request: Square) -> tuple[int, int]:
        return 1, 0

    def written(self, result: Squared) -> int:
        return 0

    def at_work(self, stats: int) -> tuple[int, int]:
        return 0, stats

    def measures(self, stats: int) -> Measures:
        return Measures(gauges=load_gauges(0, stats), status={"waiting": stats})


@pytest.fixture
def gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


@pytest.fixture
def replica(gate: threading.Event) -> Iterator[SquareReplica]:
    replica = SquareReplica("m", "v", 1, lambda: Squares(gate))
    yield replica
    gate.set()
    replica.loop.stop()


def squares(*numbers: int) -> tuple[Square, ...]:
    return tuple(Square("same", number) for number in numbers)


async def compute(replica: SquareReplica, requests: tuple[Square, ...]) -> tuple[Squared, ...]:
    ((results, _),) = [item async for item in replica.told(requests)]
    return results


async def idle(replica: SquareReplica) -> None:
    async with asyncio.timeout(30):
        while replica.loop.open_requests or replica.open_calls or replica.loop.stats():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_results_come_in_order_and_calls_do_not_mix(replica: SquareReplica) -> None:
    one, other = await asyncio.gather(compute(replica, squares(3, 1, 2)), compute(replica, squares(9, 8)))
    assert [result.value for result in one] == [9, 1, 4]
    assert [result.value for result in other] == [81, 64]
    assert await compute(replica, ()) == ()
    await idle(replica)


async def test_what_goes_wrong_with_one_is_its_own_affair(replica: SquareReplica) -> None:
    results = await compute(replica, squares(2, -1, 1001, 3))
    assert [result.value for result in results] == [4, 0, 0, 9]
    assert [type(result.error) for result in results] == [type(None), EngineFailed, InvalidRequest, type(None)]
    await idle(replica)


async def test_as_many_are_taken_as_there_is_room_for(replica: SquareReplica, gate: threading.Event) -> None:
    gate.clear()
    waiting = asyncio.ensure_future(compute(replica, squares(1, 2, 3, 4)))
    await asyncio.sleep(0.05)
    more = asyncio.ensure_future(compute(replica, squares(1, 2, 3, 4, 5)))
    await asyncio.sleep(0.05)
    assert replica.loop.open_requests == 8
    gate.set()
    assert [result.value for result in await waiting] == [1, 4, 9, 16]
    assert [type(result.error) for result in await more] == [type(None)] * 4 + [Overloaded]
    await idle(replica)


async def test_a_stopped_engine_says_so(replica: SquareReplica) -> None:
    replica.loop.stop()
    with pytest.raises(EngineFailed):
        await compute(replica, squares(1))


async def test_a_caller_who_goes_leaves_nothing(replica: SquareReplica, gate: threading.Event) -> None:
    gate.clear()
    task = asyncio.ensure_future(compute(replica, squares(1, 2, 3)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await idle(replica)


async def test_what_it_tells_of_itself(replica: SquareReplica) -> None:
    told = await replica.describe()
    assert (told["state"], told["waiting"]) == ("ready", 0)
    assert 'vllm:num_requests_waiting{engine="v",model_name="m"} 0.0' in await replica.exposition()


async def test_its_load_is_what_is_here(replica: SquareReplica, gate: threading.Event) -> None:
    gate.clear()
    waiting = asyncio.ensure_future(compute(replica, squares(1, 2, 3)))
    await asyncio.sleep(0.05)
    load = await replica.load("door", 2.5)
    assert (load.left_tokens, load.prompt_tokens, load.turned_away_per_s) == (3, 3, 2.5)
    assert (load.slots, load.places, load.step_tokens) == (2, 8, 2)
    assert load.replica == (await replica.load("door", 2.5)).replica
    gate.set()
    await waiting
    await idle(replica)
    load = await replica.load("door")
    assert (load.left_tokens, load.prompt_tokens, load.turned_away_per_s) == (0, 0, 0)
