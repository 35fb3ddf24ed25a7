from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest

from deployments.channels.channel import Channel
from deployments.channels.handshake import Doorway
from deployments.channels.pool import Channels, least
from deployments.channels.server import CallServer
from engine.errors import Overloaded


async def never(asked: Any) -> AsyncIterator[Any]:
    await asyncio.Event().wait()
    yield


class World:
    """Replicas by name, those that are listed, and the front door's connections to them."""

    def __init__(self) -> None:
        self.servers: dict[str, CallServer] = {}
        self.listed: set[str] | None = None
        self.shunned: set[str] = set()
        self.woken = 0
        self.channels = Channels(self.doorways, lambda: self.listed, self.shunned, self.wake, most_waiting=2)
        self.keeping = asyncio.ensure_future(self.channels.keep())

    def wake(self) -> None:
        self.woken += 1

    async def doorways(self) -> Collection[Doorway]:
        return [await server.doorway("127.0.0.1") for server in self.servers.values()]

    def start(self, *names: str) -> None:
        self.servers |= {name: CallServer(name, never) for name in names}
        self.list(*names, *(self.listed or ()))

    def list(self, *names: str) -> None:
        self.listed = set(names)
        self.channels.changed()

    async def stop(self, name: str) -> None:
        server = self.servers.pop(name)
        for task in tuple(server.calls):
            task.cancel()
        await server.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with asyncio.timeout(60):
        yield world
        world.keeping.cancel()
        for name in list(world.servers):
            await world.stop(name)


async def chosen(world: World, count: int) -> list[str]:
    """The replicas of so many calls, all of them under way."""
    names = []
    for _ in range(count):
        channel = await world.channels.choose()
        channel.call(None)
        names.append(channel.replica)
    return names


async def connected(world: World, *names: str) -> None:
    while set(world.channels._channels) != set(names):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_who_waits_wakes_and_gets_the_first_that_comes(world: World) -> None:
    waiting = asyncio.ensure_future(world.channels.choose())
    await asyncio.sleep(0.01)
    assert world.woken == 1
    assert not waiting.done()
    world.start("a")
    assert (await waiting).replica == "a"
    assert world.woken == 1


async def test_too_many_do_not_wait(world: World) -> None:
    waiting = [asyncio.ensure_future(world.channels.choose()) for _ in range(2)]
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded, match="too many"):
        await world.channels.choose()
    waiting[0].cancel()
    await asyncio.sleep(0.01)
    world.start("a")
    assert isinstance(await world.channels.choose(), Channel)
    await waiting[1]


async def test_calls_are_spread_evenly(world: World) -> None:
    world.start("a", "b", "c")
    await connected(world, "a", "b", "c")
    names = await chosen(world, 9)
    assert {name: names.count(name) for name in "abc"} == {"a": 3, "b": 3, "c": 3}


async def test_one_that_is_listed_no_more_gets_nothing_and_keeps_what_it_has(world: World) -> None:
    world.start("a", "b")
    await connected(world, "a", "b")
    await chosen(world, 2)
    world.list("b")
    assert await chosen(world, 3) == ["b"] * 3
    assert world.channels._channels["a"].open == 1


async def test_one_that_is_lost_is_connected_to_again(world: World) -> None:
    world.start("a", "b")
    await connected(world, "a", "b")
    lost = world.channels._channels["a"]
    await world.stop("a")
    await connected(world, "b")
    assert lost.lost
    assert await chosen(world, 2) == ["b"] * 2
    world.start("a")
    await connected(world, "a", "b")
    assert await chosen(world, 1) == ["a"]


async def test_a_question_that_fails_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = world.channels._ask

    async def fails() -> Collection[Doorway]:
        monkeypatch.setattr(world.channels, "_ask", answers)
        raise OSError("no")

    monkeypatch.setattr(world.channels, "_ask", fails)
    world.start("a")
    assert (await world.channels.choose()).replica == "a"


def test_the_shunned_are_left_out_unless_all_are() -> None:
    loads = {"a": 0, "b": 2, "c": 1}
    names = {name: name for name in loads}
    assert least(names, (), loads.__getitem__) == "a"
    assert least(names, {"a"}, loads.__getitem__) == "c"
    assert least(names, {"a", "b", "c"}, loads.__getitem__) == "a"
    assert least({}, (), loads.__getitem__) is None
