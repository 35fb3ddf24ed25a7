"""A replica's end: it listens, and answers calls as their parts come."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

from cluster.tls import server_context
from deployments.asked import TRACES, Asked
from deployments.channels import frames, handshake, payload
from deployments.channels.frames import Frame, FrameError, Kind, Reader
from deployments.channels.handshake import Doorway
from deployments.channels.outgoing import Outgoing
from deployments.logs import REQUEST_ID
from engine.errors import EngineFailed, StagelineError

log = logging.getLogger(__name__)

Answer = Callable[[Any], AsyncIterator[Any]]
"""What is asked to the parts of its answer. Closing the iterator takes the question back."""


class CallServer:
    """`name` is the replica's. Used by one event loop."""

    def __init__(self, name: str, answer: Answer) -> None:
        self.name = name
        self.answer = answer
        self.secret = secrets.token_bytes(32)
        self.calls: set[asyncio.Task[None]] = set()
        self.connections: set[_Connection] = set()
        self._listening: asyncio.Task[Doorway] | None = None
        self._server: asyncio.Server | None = None

    async def doorway(self, host: str) -> Doorway:
        """Where it listens: from now on, at a free port of this address. Raises OSError where it cannot,
        and ConfigError for certificates that are no good."""
        if self._listening is None or (self._listening.done() and self._listening.exception() is not None):
            self._listening = asyncio.ensure_future(self._listen(host))
        return await asyncio.shield(self._listening)

    async def _listen(self, host: str) -> Doorway:
        events, tls = asyncio.get_running_loop(), server_context()
        timeout_s = None if tls is None else handshake.SECONDS
        self._server = await events.create_server(
            lambda: _Connection(self), host, 0, ssl=tls, ssl_handshake_timeout=timeout_s
        )
        return Doorway(self.name, host, self._server.sockets[0].getsockname()[1], self.secret)

    async def close(self) -> None:
        """Takes no new connections, waits until all calls are answered, and closes those that there are."""
        if self._server is not None:
            self._server.close()
        while self.calls:
            await asyncio.wait(tuple(self.calls))
        await asyncio.sleep(0)  # what was written last goes out
        for connection in tuple(self.connections):
            connection.close()


class _Connection(asyncio.Protocol):
    def __init__(self, server: CallServer) -> None:
        self._server = server
        self._reader = Reader(handshake.LONGEST)
        self._challenge = handshake.nonce()
        self._known = False
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._room = asyncio.Event()
        self._room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio
        self._out = Outgoing(self._transport)
        self._server.connections.add(self)
        self._out.write(frames.pack(Kind.CHALLENGE, payload=self._challenge))
        self._too_late = asyncio.get_running_loop().call_later(handshake.SECONDS, self.close)

    def connection_lost(self, error: Exception | None) -> None:
        self._too_late.cancel()
        self._server.connections.discard(self)
        self._room.set()
        for task in self._tasks.values():
            task.cancel()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except FrameError as error:
            log.warning("a connection from %s is closed: %s", self._transport.get_extra_info("peername"), error)
            self.close()

    def close(self) -> None:
        self._transport.close()

    def _take(self, frame: Frame) -> None:
        if not self._known:
            self._be_sure_of(frame)
        elif frame.kind is Kind.CALL:
            task = asyncio.ensure_future(self._answer(frame))
            self._tasks[frame.call] = task
            self._server.calls.add(task)
            task.add_done_callback(self._server.calls.discard)
        elif frame.kind is Kind.CANCEL and (waiting := self._tasks.get(frame.call)) is not None:
            waiting.cancel()

    def _be_sure_of(self, frame: Frame) -> None:
        secret = self._server.secret
        if frame.kind is not Kind.PROOF or not handshake.caller_is_known(secret, self._challenge, frame.payload):
            raise FrameError("it does not know this replica")
        self._known = True
        self._too_late.cancel()
        self._reader.longest = frames.LONGEST
        proof = handshake.replica_proof(secret, frame.payload[: handshake.NONCE_BYTES])
        self._out.write(frames.pack(Kind.WELCOME, payload=proof))

    async def _answer(self, frame: Frame) -> None:
        call = frame.call
        try:
            asked = payload.loads(frame.payload)
            if isinstance(asked, Asked):
                REQUEST_ID.set(asked.request_id)
                TRACES.set(asked.traces)
                asked = asked.what
            async with aclosing(self._server.answer(asked)) as items:  # type: ignore[type-var]
                async for item in items:
                    self._out.write(frames.pack(Kind.ITEM, call, payload.dumps(item)))
                    if not self._room.is_set():
                        await self._room.wait()
            self._out.write(frames.pack(Kind.END, call))
        except StagelineError as error:
            self._out.write(frames.pack(Kind.FAULT, call, payload.dumps(error)))
        except Exception as error:
            log.exception("a call failed")
            told = EngineFailed(f"the replica failed ({type(error).__name__}); its log says more")
            self._out.write(frames.pack(Kind.FAULT, call, payload.dumps(told)))
        finally:
            self._tasks.pop(call, None)
