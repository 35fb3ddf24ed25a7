"""Streams that outlive their replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from deployments import calls, retries
from deployments.calls import begun
from deployments.front_door.trail.record import CURRENT, Record, Visit
from deployments.load import Load
from deployments.retries import DEATHS_IN_A_ROW
from deployments.run import Run
from engine.errors import EngineFailed, InvalidRequest, Overloaded, ReplicaEnded, ReplicaLost
from engine.request import Delta, FinishReason, Request, Timings
from tests.deployments.call_fakes import KEY, LOST_CHANNEL, REQUEST, TOKENS, Nobody, Play, Replica, World, refuses


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.001)


async def test_a_request_that_no_replica_takes_is_given_up() -> None:
    with pytest.raises(Overloaded, match="no replica"):
        await begun(cast(Any, Nobody()), Run(), REQUEST, asyncio.get_running_loop().time(), Visit(0.0))


def writes(upto: int | None = None, then: Any = None) -> Play:
    """A replica that writes what is missing of the tokens, but only so many, and then fails: `then` is raised, or told
    in an answer."""

    async def play(request: Request) -> AsyncIterator[Any]:
        written = len(request.generated)
        assert request.generated == TOKENS[:written]
        for at in range(written, len(TOKENS))[:upto]:
            last = at == len(TOKENS) - 1
            wants_prompt = request.sampling.prompt_logprobs is not None and at == written
            yield Delta(
                (TOKENS[at],),
                FinishReason.LENGTH if last else None,
                prompt_logprobs=(None,) if wants_prompt else (),
                cached_tokens=1 + written,
                timings=Timings(0.1, 0.2, 0.3) if at == written or last else None,
            )
        if isinstance(then, Delta):
            yield then
        elif then is not None:
            raise then

    return play


LOST = Delta(finish_reason=FinishReason.ERROR, error=ReplicaLost("the engine ended"))


async def read(deltas: AsyncIterator[Delta]) -> list[Delta]:
    return [delta async for delta in deltas]


def tokens(deltas: Sequence[Delta]) -> tuple[int, ...]:
    return tuple(token for delta in deltas for token in delta.tokens)


async def test_nothing_happens() -> None:
    world = World(Replica(writes()))
    found = await read(world.stream())
    assert tokens(found) == TOKENS
    assert found[-1].finish_reason is FinishReason.LENGTH
    assert world.replica.asked == [REQUEST]
    assert not world.replica.calls[0].cancelled
    assert not world.resumed


@pytest.mark.parametrize("then", [LOST_CHANNEL, LOST, replace(LOST, tokens=TOKENS[3:5]), None])
async def test_a_stream_goes_on_elsewhere(then: Any) -> None:
    world = World(Replica(writes(3, then), writes()))
    found = await read(world.stream())
    assert tokens(found) == TOKENS
    assert [delta.finish_reason for delta in found if delta.finish_reason] == [FinishReason.LENGTH]
    assert all(delta.error is None for delta in found)
    assert {delta.cached_tokens for delta in found if delta.cached_tokens} == {1}
    assert [bool(delta.prompt_logprobs) for delta in found] == [True] + [False] * (len(found) - 1)
    again = world.replica.asked[1]
    assert again.generated == TOKENS[: 5 if isinstance(then, Delta) and then.tokens else 3]
    assert again.sampling == replace(REQUEST.sampling, prompt_logprobs=None)
    assert world.resumed == {"died": 1}


async def test_a_request_lost_before_its_first_token_begins_elsewhere() -> None:
    world = World(Replica(writes(0, LOST_CHANNEL), writes(0, LOST), writes()))
    found = await read(world.stream())
    assert tokens(found) == TOKENS
    assert found[0].prompt_logprobs
    assert world.replica.asked == [REQUEST] * 3


async def test_death_after_death_with_tokens_between_them() -> None:
    world = World(Replica(*[writes(1, LOST_CHANNEL)] * (len(TOKENS) - 1), writes()))
    assert tokens(await read(world.stream())) == TOKENS
    assert world.resumed == {"died": len(TOKENS) - 1}


async def test_a_request_that_kills_does_not_kill_them_all() -> None:
    world = World(Replica(writes(2, LOST_CHANNEL), writes(0, LOST_CHANNEL)))
    deltas = world.stream()
    assert tokens([await anext(deltas), await anext(deltas)]) == TOKENS[:2]
    with pytest.raises(EngineFailed, match="one replica after another"):
        await anext(deltas)
    assert len(world.replica.asked) == DEATHS_IN_A_ROW


async def test_a_replica_that_never_took_it_counts_for_nothing() -> None:
    refusals = [refuses(ReplicaEnded("its engine has ended", replica="r"))] * (2 * DEATHS_IN_A_ROW)
    world = World(Replica(writes(2, LOST_CHANNEL), *refusals, writes()))
    assert tokens(await read(world.stream())) == TOKENS
    assert world.resumed == {"died": 1}


async def test_when_none_takes_it_in_time_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "ACCEPT_TIMEOUT_S", 0.05)
    with pytest.raises(Overloaded, match="no replica"):
        await read(World(Replica(refuses(ReplicaEnded("its engine has ended", replica="r")))).stream())


async def test_who_comes_to_a_full_replica_is_turned_away_and_who_was_there_waits() -> None:
    full = refuses(Overloaded("full"))
    with pytest.raises(Overloaded, match="full"):
        await read(World(Replica(full)).stream())
    world = World(Replica(writes(2, LOST_CHANNEL), full, full, writes()))
    assert tokens(await read(world.stream())) == TOKENS


@pytest.mark.parametrize("own", [InvalidRequest("no"), EngineFailed("a step failed")])
async def test_what_a_replica_says_itself_is_not_asked_twice(own: Exception) -> None:
    world = World(Replica(refuses(own)))
    with pytest.raises(type(own)):
        await read(world.stream())
    assert len(world.replica.asked) == 1
    told = World(Replica(writes(2, Delta(finish_reason=FinishReason.ERROR, error=own))))
    assert (await read(told.stream()))[-1].error is own
    assert len(told.replica.asked) == 1


async def test_where_only_the_end_was_lost_nobody_is_asked() -> None:
    async def all_but_the_end(request: Request) -> AsyncIterator[Any]:
        yield Delta(TOKENS, cached_tokens=2, timings=Timings(0.1, 0.2, 0.0))
        raise LOST_CHANNEL

    world = World(Replica(all_but_the_end))
    *_, last = await read(world.stream())
    assert last.finish_reason is FinishReason.LENGTH
    assert last.cached_tokens == 2
    assert len(world.replica.asked) == 1


async def test_a_silent_replicas_stream_goes_on_elsewhere_and_its_late_words_are_not_heard() -> None:
    late = asyncio.Event()

    async def hangs(request: Request) -> AsyncIterator[Any]:
        yield Delta(TOKENS[:2])
        await late.wait()
        yield Delta((99,))

    world = World(Replica(hangs, writes()))
    deltas = world.stream()
    first = await anext(deltas)
    (run,) = world.presence._runs[KEY]
    assert run.replica == "a"
    rest = asyncio.ensure_future(read(deltas))
    await asyncio.sleep(0.01)
    run.give_up()
    late.set()
    assert tokens([first, *await rest]) == TOKENS
    assert world.resumed == {"silent": 1}
    assert [call.cancelled for call in world.replica.calls] == [True, False]
    assert not world.presence._runs[KEY]


async def test_a_reader_who_goes_takes_the_call_along() -> None:
    world = World(Replica(writes(2, LOST), writes()))
    deltas = world.stream()
    for _ in range(3):
        await anext(deltas)
    await cast(Any, deltas).aclose()
    assert world.replica.calls[1].cancelled
    assert not world.presence._runs[KEY]


async def test_the_load_that_comes_with_a_delta_is_heard() -> None:
    async def tells(request: Request) -> AsyncIterator[Any]:
        yield Delta(TOKENS, FinishReason.LENGTH), Load("a", running=2)

    world = World(Replica(tells))
    await read(world.stream())
    assert world.heard == [(*KEY, Load("a", running=2))]


async def test_the_record_tells_who_had_a_stream() -> None:
    world = World(Replica(writes(3, LOST_CHANNEL), refuses(ReplicaEnded("ended", replica="r")), writes()))
    record = Record("r")
    token = CURRENT.set(record)
    await read(world.stream())
    CURRENT.reset(token)
    (call,) = record.calls
    assert [(one.replica, one.tokens, one.cause) for one in call.visits] == [
        ("a", 3, "died"),
        ("a", 0, "refused"),
        ("a", 5, ""),
    ]
    first, _, last = call.visits
    assert first.begun <= first.sent <= first.first <= first.ended <= last.begun <= last.first <= last.ended
    assert last.timings == Timings(0.1, 0.2, 0.3)
    assert (first.cached_tokens, last.cached_tokens) == (1, 4)
