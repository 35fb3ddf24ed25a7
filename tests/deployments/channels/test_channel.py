"""Channels over real sockets: what is asked comes, whoever goes leaves nothing, and a cut connection is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from deployments.asked import TRACES, Asked
from deployments.channels import handshake
from deployments.channels.channel import Call, Channel, ChannelLost, connect
from deployments.channels.frames import Kind, pack
from deployments.channels.server import CallServer
from deployments.logs import REQUEST_ID
from engine.errors import EngineFailed, Overloaded

HOST = "127.0.0.1"


class World:
    """A replica that counts: `asked` is how far. Negative numbers fail, and 0 never answers."""

    def __init__(self) -> None:
        self.server = CallServer("r", self.answer)
        self.lost: list[Channel] = []
        self.closed = 0

    async def answer(self, asked: Any) -> AsyncIterator[Any]:
        try:
            if asked == -1:
                raise Overloaded("full", retry_after_s=3)
            if asked == -2:
                raise ValueError("a bug")
            if not asked:
                await asyncio.Event().wait()
            for number in range(asked):
                yield number
                await asyncio.sleep(0)
        finally:
            self.closed += 1

    async def connect(self) -> Channel:
        return await connect(await self.server.doorway(HOST), self.lost.append)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with asyncio.timeout(60):
        yield world
        for task in tuple(world.server.calls):
            task.cancel()
        await world.server.close()


async def read(call: Call) -> list[Any]:
    items = []
    while True:
        try:
            items.append(await call.next())
        except StopAsyncIteration:
            return items


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_many_calls_on_one_connection_do_not_mix(world: World) -> None:
    channel = await world.connect()
    found = await asyncio.gather(*(read(channel.call(count)) for count in range(1, 40)))
    assert found == [list(range(count)) for count in range(1, 40)]
    assert channel.open == 0
    assert len(world.server.connections) == 1


async def test_what_goes_wrong_is_told_and_the_rest_goes_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    channel = await world.connect()
    with pytest.raises(Overloaded, match="full") as told:
        await read(channel.call(-1))
    assert told.value.retry_after_s == 3
    with pytest.raises(EngineFailed, match=r"ValueError.*its log says more"):
        await read(channel.call(-2))
    assert "a call failed" in caplog.text
    assert await read(channel.call(2)) == [0, 1]


async def test_who_goes_takes_the_question_back(world: World) -> None:
    channel = await world.connect()
    call = channel.call(0)
    await until(lambda: world.server.calls)
    call.cancel()
    call.cancel()
    await until(lambda: not world.server.calls)
    assert world.closed == 1
    assert channel.open == 0


async def test_what_came_is_read_before_the_loss_is_told(world: World) -> None:
    channel = await world.connect()
    call, waiting = channel.call(3), channel.call(0)
    await until(lambda: len(call._items) == 4)
    next(iter(world.server.connections))._transport.abort()
    with pytest.raises(ChannelLost):
        await waiting.next()
    assert await read(call) == [0, 1, 2]
    assert world.lost == [channel]
    with pytest.raises(ChannelLost):
        channel.call(1)
    await until(lambda: not world.server.calls)


async def test_a_front_door_that_goes_leaves_no_call_behind(world: World) -> None:
    channel = await world.connect()
    channel.call(0)
    await until(lambda: world.server.calls)
    channel.close()
    await until(lambda: not world.server.calls and not world.server.connections)
    assert world.closed == 1


async def test_a_replica_ends_when_the_last_answer_is_given(world: World) -> None:
    channel = await world.connect()
    call, endless = channel.call(500), channel.call(0)
    await until(lambda: world.server.calls)
    ending = asyncio.ensure_future(world.server.close())
    assert await read(call) == list(range(500))
    assert not ending.done()
    endless.cancel()
    await ending
    await until(lambda: channel.lost)
    with pytest.raises(ChannelLost):
        await world.connect()


async def test_much_at_once(world: World) -> None:
    world.server.answer = echo
    channel = await world.connect()
    large = b"x" * (20 << 20)
    assert await read(channel.call(large)) == [large]


async def echo(asked: Any) -> AsyncIterator[Any]:
    yield asked


async def test_a_reader_who_is_slow_holds_the_replica_back(world: World) -> None:
    given = 0

    async def floods(asked: Any) -> AsyncIterator[Any]:
        nonlocal given
        while given < 100:
            given += 1
            yield b"x" * (1 << 20)

    world.server.answer = floods
    channel = await world.connect()
    channel._transport.pause_reading()
    call = channel.call(None)
    await until(lambda: given)
    await asyncio.sleep(0.2)
    assert given < 50
    channel._transport.resume_reading()
    assert len(await read(call)) == 100


async def test_who_does_not_know_the_secret_gets_nothing(world: World) -> None:
    doorway = await world.server.doorway(HOST)
    with pytest.raises(ChannelLost):
        await connect(replace(doorway, secret=b"guessed"), world.lost.append)
    assert not world.server.calls


async def test_a_stranger_is_sent_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "SECONDS", 0.1)
    doorway = await world.server.doorway(HOST)
    for words in (b"GET / HTTP/1.1\r\n\r\n", pack(Kind.CALL, 1, b"N."), b""):
        reader, writer = await asyncio.open_connection(HOST, doorway.port)
        writer.write(words)
        await reader.read()  # to the end
        writer.close()
    assert not world.server.calls


async def test_a_stranger_in_its_place_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "SECONDS", 0.2)
    world = World()
    for words in (pack(Kind.WELCOME, payload=b"x" * 32), b"HTTP/1.1 200 OK\r\n\r\n", b""):
        async with stranger(words) as port:
            with pytest.raises(ChannelLost):
                await connect(handshake.Doorway("r", HOST, port, b"secret"), world.lost.append)


@asynccontextmanager
async def stranger(words: bytes) -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_replica_knows_whose_request_it_is(world: World) -> None:
    seen = []

    async def answer(asked: int) -> AsyncIterator[tuple[int, str, tuple[str, ...]]]:
        yield asked, REQUEST_ID.get(), TRACES.get()

    world.server.answer = answer
    channel = await world.connect()
    for asked in (Asked(7, "r-1", ("00-a-b-01",)), 8):
        seen += await read(channel.call(asked))
    assert seen == [(7, "r-1", ("00-a-b-01",)), (8, "", ())]
