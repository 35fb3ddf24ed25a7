"""The front door's end: a connection to one replica, on which any number of calls are under way."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from cluster.tls import client_context, plainly
from deployments.channels import frames, handshake, payload
from deployments.channels.frames import Frame, FrameError, Kind, Reader
from deployments.channels.handshake import Doorway
from deployments.channels.outgoing import Outgoing
from engine.errors import ReplicaLost


class ChannelLost(ReplicaLost):
    """The connection to the replica has ended, or cannot be made."""


class Call:
    """One question, and the parts of its answer as they come. One task reads."""

    __slots__ = ("_cancel", "_events", "_items", "_waiter")

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        self._events = asyncio.get_running_loop()
        self._items: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> Any:
        """The next part. Raises what the replica raised, ChannelLost, and StopAsyncIteration at the end."""
        while not self._items:
            self._waiter = self._events.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._items[0]
        if isinstance(item, _End):
            raise item.error  # again and again
        self._items.popleft()
        return item

    def cancel(self) -> None:
        """Nobody waits for it any more: the replica drops it. Harmless at the end."""
        self._cancel()

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self, error: Exception) -> None:
        """Nothing comes after what has come: `next` raises this."""
        self.put(_End(error))


class _End:
    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Channel(asyncio.Protocol):
    """Make it with `connect`. `on_lost` is called once, when the connection has ended."""

    def __init__(self, doorway: Doorway, on_lost: Callable[[Channel], None]) -> None:
        self.replica = doorway.replica
        self.lost = False
        self._secret = doorway.secret
        self._on_lost = on_lost
        self._nonce = handshake.nonce()
        self._reader = Reader(handshake.LONGEST)
        self._calls: dict[int, Call] = {}
        self._numbers = itertools.cycle(range(1, 1 << 32))
        self._welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def open(self) -> int:
        """Calls under way."""
        return len(self._calls)

    async def welcome(self) -> None:
        """Waits until both ends are sure of each other. Raises ChannelLost."""
        await self._welcome

    def call(self, asked: object) -> Call:
        """Asks. Raises ChannelLost, and PayloadTooLarge."""
        if self.lost:
            raise ChannelLost("the connection to the replica has ended")
        number = next(self._numbers)
        self._out.write(frames.pack(Kind.CALL, number, payload.dumps(asked)))
        call = self._calls[number] = Call(lambda: self._cancel(number))
        return call

    def close(self) -> None:
        self._transport.close()

    def _cancel(self, number: int) -> None:
        if self._calls.pop(number, None) is not None and not self.lost:
            self._out.write(frames.pack(Kind.CANCEL, number))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio
        self._out = Outgoing(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        reason = ChannelLost(f"the connection to the replica has ended: {plainly(error) if error else 'it was closed'}")
        if not self._welcome.done():
            self._welcome.set_exception(reason)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.end(reason)
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                if self._welcome.done():
                    self._take(frame)
                else:
                    self._be_sure_of(frame)
        except Exception as error:  # of what came, even of a pickle that is none: the connection is of no more use
            self._transport.abort()
            if not self._welcome.done():
                self._welcome.set_exception(ChannelLost(f"this is not the replica: {error}"))

    def _be_sure_of(self, frame: Frame) -> None:
        if frame.kind is Kind.CHALLENGE:
            proof = handshake.caller_proof(self._secret, frame.payload, self._nonce)
            self._out.write(frames.pack(Kind.PROOF, payload=proof))
        elif frame.kind is Kind.WELCOME and handshake.replica_is_known(self._secret, self._nonce, frame.payload):
            self._reader.longest = frames.LONGEST
            self._welcome.set_result(None)
        else:
            raise FrameError("it does not prove who it is")

    def _take(self, frame: Frame) -> None:
        call = self._calls.get(frame.call)
        if call is None:
            return  # cancelled, and the rest was on the way
        if frame.kind is Kind.ITEM:
            call.put(payload.loads(frame.payload))
            return
        del self._calls[frame.call]
        call.end(payload.loads(frame.payload) if frame.kind is Kind.FAULT else StopAsyncIteration())


async def connect(doorway: Doorway, on_lost: Callable[[Channel], None]) -> Channel:
    """A connection on which calls can be made. Raises ChannelLost."""
    events = asyncio.get_running_loop()
    channel: Channel | None = None
    tls = client_context()
    try:
        async with asyncio.timeout(handshake.SECONDS):
            _, channel = await events.create_connection(
                lambda: Channel(doorway, on_lost),
                doorway.host,
                doorway.port,
                ssl=tls,
                server_hostname=None if tls is None else doorway.host,
            )
            await channel.welcome()
            return channel
    except (OSError, TimeoutError) as error:
        if channel is not None:
            channel.close()
        raise ChannelLost(f"no connection to replica {doorway.replica} can be made: {plainly(error)}") from None
