"""A TCP proxy between a client and a server that notes what passes: `python -m loadtest.agreement.wire URL FILE`.

It prints its port. Bytes are passed on at once and unchanged, and only then read (`tape.py`). The records, whose times
are seconds since its own start, are written to FILE at the end: when standard input ends (so also when whoever started
it is gone), or a signal comes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from loadtest.agreement.tape import AnsweredReader, AskedReader, Tape, Waiting
from loadtest.clock import RunClock
from loadtest.record import write_records

CONNECT_S = 10.0


class Asked(asyncio.Protocol):
    """The client's side of one connection; it makes the server's. asyncio sets TCP_NODELAY on both."""

    def __init__(self, tape: Tape, clock: RunClock, address: tuple[str, int]) -> None:
        waiting: Waiting = Waiting()
        self._reader, self._clock, self._address = AskedReader(tape, waiting), clock, address
        self._server = Answered(self, AnsweredReader(waiting), clock)
        self._held: list[bytes] | None = []  # until there is a connection to the server
        self._task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(lambda: self._server, *self._address)
        except OSError:  # a TimeoutError is one
            self.transport.abort()
            return
        held, self._held = self._held or [], None
        for data in held:
            self._server.transport.write(data)

    def data_received(self, data: bytes) -> None:
        now = self._clock()
        if self._held is None:
            self._server.transport.write(data)
        else:
            self._held.append(data)
        self._reader.feed(data, now)

    def eof_received(self) -> bool:
        if self._held is None:
            _pass_end(self._server.transport)
        return self._held is None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._held is None:
            _close(self._server.transport, exc)

    def pause_writing(self) -> None:
        self._server.transport.pause_reading()

    def resume_writing(self) -> None:
        self._server.transport.resume_reading()


class Answered(asyncio.Protocol):
    """The server's side of one connection."""

    def __init__(self, client: Asked, reader: AnsweredReader, clock: RunClock) -> None:
        self._client, self._reader, self._clock = client, reader, clock
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now = self._clock()
        self._client.transport.write(data)
        self._reader.feed(data, now)

    def eof_received(self) -> bool:
        now = self._clock()
        _pass_end(self._client.transport)
        self._reader.ended(now)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        _close(self._client.transport, exc)

    def pause_writing(self) -> None:
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        self._client.transport.resume_reading()


def _pass_end(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.write_eof()


def _close(transport: asyncio.Transport, error: Exception | None) -> None:
    """As the other side ended: with what was still to be written, or broken off."""
    if error is None:
        transport.close()
    else:
        transport.abort()


async def _serve(url: str, tape: Tape) -> None:
    loop, clock = asyncio.get_running_loop(), RunClock(time.time())
    parts = urlsplit(url)
    async with asyncio.timeout(CONNECT_S):  # the name is looked up once, and not while somebody waits
        _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    address = writer.get_extra_info("peername")[:2]
    writer.close()
    ended, given = asyncio.Event(), sys.stdin.fileno()

    def read() -> None:
        if not os.read(given, 1024):
            ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    loop.add_reader(given, read)
    server = await loop.create_server(lambda: Asked(tape, clock, address), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    loop.remove_reader(given)
    server.close()


def main() -> None:
    url, file = sys.argv[1:]
    tape = Tape()
    try:
        asyncio.run(_serve(url, tape))
    except OSError as error:
        sys.exit(f"{url}: no connection: {error}")
    write_records(Path(file), tape.records)


if __name__ == "__main__":
    main()
