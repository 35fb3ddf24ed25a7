from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from deployments import calls, retries
from deployments.calls import Replicas, begun, compute, stream
from deployments.channels.channel import ChannelLost
from deployments.front_door.trail.record import CURRENT, SHARING, Record, Visit
from deployments.load import Load
from deployments.presence import Presence
from deployments.retries import DEATHS_IN_A_ROW
from deployments.run import Run
from engine.errors import EngineFailed, InvalidRequest, Overloaded, ReplicaEnded, ReplicaLost
from engine.request import Delta, FinishReason, Request, SamplingParams, Timings

KEY = ("m", "v")
TOKENS = tuple(range(10, 18))
LOST_CHANNEL = ChannelLost("the connection to the replica has ended")
REQUEST = Request("r", (1, 2, 3), SamplingParams(max_tokens=len(TOKENS), prompt_logprobs=0, seed=5))


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.001)


class Call:
    """What a channel's call returns: the parts of a play."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self.items = items
        self.cancelled = False

    async def next(self) -> Any:
        return await anext(self.items)

    def cancel(self) -> None:
        self.cancelled = True


Play = Callable[[Any], AsyncIterator[Any]]


class Replica:
    """All of a variant's: each call is answered by the next of `plays`, and the last one answers all that follow."""

    replica = "a"

    def __init__(self, *plays: Any) -> None:
        self.plays = list(plays)
        self.asked: list[Any] = []
        self.calls: list[Call] = []

    async def choose(self) -> Replica:
        await asyncio.sleep(0)
        return self

    def call(self, asked: Any) -> Call:
        asked = asked.what
        self.asked.append(asked)
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        self.calls.append(Call(play(asked)))
        return self.calls[-1]


class Nobody:
    async def choose(self) -> None:
        await asyncio.Event().wait()


async def test_a_request_that_no_replica_takes_is_given_up() -> None:
    with pytest.raises(Overloaded, match="no replica"):
        await begun(cast(Any, Nobody()), Run(), REQUEST, asyncio.get_running_loop().time(), Visit(0.0))


class World:
    def __init__(self, replica: Replica | Nobody) -> None:
        async def nobody(key: Any) -> tuple[str, ...]:
            return ()

        self.replica = cast(Replica, replica)
        self.heard: list[tuple[str, str, Load]] = []
        self.resumed: Counter[str] = Counter()
        self.presence = Presence(nobody, lambda key: None, set())
        self.replicas = Replicas(
            cast(Any, {KEY: replica}),
            self.presence,
            lambda *told: self.heard.append(told),
            lambda model, variant, cause: self.resumed.update([cause]),
        )

    def stream(self, request: Request = REQUEST) -> AsyncIterator[Delta]:
        return stream(self.replicas, *KEY, request)

    async def compute(self, numbers: Sequence[int]) -> Any:
        return await compute(self.replicas, *KEY, numbers)


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


def refuses(error: Exception) -> Play:
    async def play(asked: Any) -> AsyncIterator[Any]:
        for refused in (error,):
            raise refused
        yield

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


async def test_the_record_tells_who_had_a_stream(record: Record) -> None:
    world = World(Replica(writes(3, LOST_CHANNEL), refuses(ReplicaEnded("ended", replica="r")), writes()))
    await read(world.stream())
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
