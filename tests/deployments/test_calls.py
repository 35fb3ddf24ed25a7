"""Calls that are answered whole, and outlive their replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from deployments import calls, retries
from deployments.front_door.trail.record import CURRENT, SHARING, Record
from deployments.load import Load
from deployments.retries import DEATHS_IN_A_ROW
from engine.errors import EngineFailed, InvalidRequest, Overloaded, ReplicaLost
from engine.request import Timings
from tests.deployments.call_fakes import KEY, LOST_CHANNEL, Replica, World, refuses


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.001)


@dataclass(frozen=True)
class Outcome:
    value: int
    error: Exception | None = None
    queue_s: float = 0.01
    run_s: float = 0.02


async def doubles(numbers: tuple[int, ...]) -> AsyncIterator[Any]:
    yield tuple(Outcome(2 * number) for number in numbers), Load("r", running=len(numbers))


async def hangs(numbers: tuple[int, ...]) -> AsyncIterator[Any]:
    await asyncio.Event().wait()
    yield


def doubles_but(error: Exception, *spoilt: int) -> Any:
    """Doubles, but for these, in whose place the error stands."""

    async def play(numbers: tuple[int, ...]) -> AsyncIterator[Any]:
        yield tuple(Outcome(0, error) if one in spoilt else Outcome(2 * one) for one in numbers), None

    return play


def loses(*lost: int) -> Any:
    return doubles_but(ReplicaLost("the engine ended"), *lost)


def full(*refused: int) -> Any:
    return doubles_but(Overloaded("full"), *refused)


def values(outcomes: Sequence[Outcome]) -> list[int]:
    return [outcome.value for outcome in outcomes]


async def test_the_load_that_comes_with_an_answer_is_heard() -> None:
    world = World(Replica(doubles))
    assert values(await world.compute([1, 2, 3])) == [2, 4, 6]
    assert world.heard == [(*KEY, Load("r", running=3))]


async def test_what_a_dead_replica_held_is_computed_by_another() -> None:
    world = World(Replica(refuses(LOST_CHANNEL), refuses(LOST_CHANNEL), doubles))
    assert values(await world.compute([1, 2])) == [2, 4]
    assert len(world.replica.calls) == 3


async def test_only_what_is_missing_is_computed_by_another() -> None:
    world = World(Replica(loses(2, 3), loses(3), doubles))
    assert values(await world.compute([1, 2, 3, 4])) == [2, 4, 6, 8]
    assert world.replica.asked == [(1, 2, 3, 4), (2, 3), (3,)]


async def test_what_was_taken_once_waits_for_room_and_what_comes_anew_is_turned_away() -> None:
    turned_away = World(Replica(full(2)))
    found = await turned_away.compute([1, 2])
    assert [type(outcome.error) for outcome in found] == [type(None), Overloaded]
    moved = World(Replica(refuses(LOST_CHANNEL), full(1, 2, 3), full(1, 2, 3), full(2, 3), full(3), doubles))
    assert values(await moved.compute([1, 2, 3])) == [2, 4, 6]
    assert moved.replica.asked == [(1, 2, 3)] * 4 + [(2, 3), (3,)]


async def test_room_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "ACCEPT_TIMEOUT_S", 0.5)
    with pytest.raises(Overloaded, match="full"):
        await World(Replica(refuses(LOST_CHANNEL), full(1))).compute([1])


async def test_a_call_may_take_longer_than_a_replica_to_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "ACCEPT_TIMEOUT_S", 0.02)

    async def slow(numbers: tuple[int, ...]) -> AsyncIterator[Any]:
        await asyncio.sleep(0.1)
        yield (Outcome(2),), None

    assert values(await World(Replica(slow)).compute([1])) == [2]


async def test_an_answer_that_ends_early_is_asked_of_another() -> None:
    async def ends(numbers: tuple[int, ...]) -> AsyncIterator[Any]:
        for number in numbers[:0]:
            yield number

    assert values(await World(Replica(ends, doubles)).compute([1])) == [2]


async def test_death_after_death_is_told() -> None:
    world = World(Replica(refuses(LOST_CHANNEL)))
    with pytest.raises(EngineFailed, match="one replica after another"):
        await world.compute([1])
    assert len(world.replica.calls) == DEATHS_IN_A_ROW


async def test_what_a_replica_says_of_a_call_is_not_asked_twice() -> None:
    world = World(Replica(refuses(InvalidRequest("no"))))
    with pytest.raises(InvalidRequest):
        await world.compute([1])
    assert len(world.replica.calls) == 1


async def test_a_silent_replicas_call_is_asked_of_another() -> None:
    world = World(Replica(hangs, doubles))
    answer = asyncio.ensure_future(world.compute([1]))
    await asyncio.sleep(0.01)
    (run,) = world.presence._runs[KEY]
    assert run.replica == "a", "known while it computes: another replica's silence does not end the call"
    run.give_up()
    assert values(await answer) == [2]
    assert [call.cancelled for call in world.replica.calls] == [True, False]


async def test_a_caller_who_goes_takes_the_call_along() -> None:
    world = World(Replica(hangs))
    task = asyncio.ensure_future(world.compute([1]))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [call.cancelled for call in world.replica.calls] == [True]


@pytest.fixture
def record() -> Iterator[Record]:
    made = Record("r")
    token = CURRENT.set(made)
    yield made
    CURRENT.reset(token)


async def test_the_record_tells_who_had_texts(record: Record) -> None:
    world = World(Replica(refuses(LOST_CHANNEL), doubles))
    await world.compute((1, 2, 3))
    (call,) = record.calls
    assert call.texts == 3
    assert [one.cause for one in call.visits] == ["died", ""]
    assert call.visits[-1].timings == Timings(0.01, 0.02, 0.0)


async def test_a_call_that_is_shared_is_in_all_records() -> None:
    records = [Record("a"), Record("b")]
    token = SHARING.set(records)
    await World(Replica(doubles)).compute((1, 2, 3))
    SHARING.reset(token)
    assert records[0].calls == records[1].calls
    assert records[0].calls[0].texts == 3
