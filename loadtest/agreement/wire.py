"""A TCP proxy between a client and a server that notes what passes: `python -m loadtest.agreement.wire URL FILE`.

It prints its port. Bytes are passed on at once and unchanged, and only then read: when the head of a request began to
come, when each event of its answer was passed on, when that ended, the `usage` in it. Those become `Record`s as ours,
which are written to FILE at the end: when standard input ends (so also when whoever started it is gone), or a signal
comes.

Nothing of our client is in it but the reader of events: it is a witness, also against ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools

from loadtest.clock import RunClock
from loadtest.record import Record, write_records
from loadtest.streams import EventReader

KINDS = {"/v1/chat/completions": "chat", "/v1/completions": "completions"}  # what is noted, by the end of the path
CONNECT_S = 10.0


class Tape:
    """The requests that passed, in the order in which they came. Times are seconds since it was made."""

    def __init__(self) -> None:
        self.clock = RunClock(time.time())
        self.records: list[Record] = []

    def begin(self, path: str, at_s: float) -> Record | None:
        """A request that began at `at_s`; None where it is none that generates. It has failed until it is complete."""
        kind = next((kind for end, kind in KINDS.items() if path.endswith(end)), None)
        if kind is None:
            return None
        record = Record(len(self.records), kind, "", at_s, at_s, failure="cut", message="not complete")
        self.records.append(record)
        return record


class Asked(asyncio.Protocol):
    """The client's side of one connection; it makes the server's."""

    def __init__(self, tape: Tape, address: tuple[str, int]) -> None:
        self._tape, self._address = tape, address
        self._parser: Any = httptools.HttpRequestParser(self)
        self._held: list[bytes] | None = []  # until there is a connection to the server
        self._target = b""
        self._now = self._began_s = 0.0
        self._server = Answered(self, tape.clock)
        self._task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport  # asyncio sets TCP_NODELAY on all its connections
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
        self._now = self._tape.clock()
        if self._held is None:
            self._server.transport.write(data)
        else:
            self._held.append(data)
        if self._parser is not None:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError:  # what is not HTTP passes, and nobody notes it
                self._parser = None

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

    # Callbacks of the parser.
    def on_message_begin(self) -> None:
        self._began_s, self._target = self._now, b""

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_headers_complete(self) -> None:
        path = self._target.decode("latin-1").partition("?")[0]
        self._server.waiting.append(self._tape.begin(path, self._began_s))


class Answered(asyncio.Protocol):
    """The server's side of one connection. `waiting`: its requests without an answer; None: one that is not noted."""

    def __init__(self, client: Asked, clock: RunClock) -> None:
        self._client, self._clock = client, clock
        self._parser: Any = httptools.HttpResponseParser(self)
        self._now = 0.0
        self._events: EventReader | None = None
        self._body = b""
        self._done = False
        self.waiting: deque[Record | None] = deque()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._now = self._clock()
        self._client.transport.write(data)
        if self._parser is not None:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError:
                self._parser = None

    def eof_received(self) -> bool:
        self._now = self._clock()
        _pass_end(self._client.transport)
        if self.waiting and (record := self.waiting[0]) is not None and record.headers_s is not None:
            self._end(record)  # an answer may end with its connection
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        _close(self._client.transport, exc)

    def pause_writing(self) -> None:
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        self._client.transport.resume_reading()

    # Callbacks of the parser.
    def on_message_begin(self) -> None:
        self._events, self._body, self._done = None, b"", False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type" and value.startswith(b"text/event-stream"):
            self._events = EventReader()

    def on_headers_complete(self) -> None:
        if self.waiting and (record := self.waiting[0]) is not None:
            record.status, record.headers_s = self._parser.get_status_code(), self._now

    def on_body(self, data: bytes) -> None:
        record = self.waiting[0] if self.waiting else None
        if record is None:
            return
        record.bytes += len(data)
        if self._events is None:
            self._body += data
            return
        for event in self._events.feed(data):
            self._take(record, event)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200 and self.waiting:  # below: the answer is still to come
            record = self.waiting.popleft()
            if record is not None:
                self._end(record)

    def _take(self, record: Record, event: bytes) -> None:
        if event == b"[DONE]":
            self._done = True
            return
        told = _object(event)
        if _text(told):
            if record.last_s is None:
                record.first_s = self._now
            else:
                record.gaps_s.append(round(self._now - record.last_s, 6))
            record.last_s = self._now
        _count(record, told)

    def _end(self, record: Record) -> None:
        record.end_s = self._now
        if self._events is None and (told := _object(self._body)):
            record.first_s = record.last_s = self._now
            _count(record, told)
            self._done = True
        if record.status != 200:
            record.failure, record.message = "http", f"{record.status}"
        elif self._done and record.first_s is not None:
            record.failure, record.message = "", ""


def _object(data: bytes) -> dict[str, Any]:
    """{} for what is no JSON object."""
    try:
        told = json.loads(data)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _text(told: dict[str, Any]) -> str:
    for choice in told.get("choices") or ():
        part = choice.get("delta") or choice
        return str(part.get("content") or part.get("reasoning_content") or part.get("text") or "")
    return ""


def _count(record: Record, told: dict[str, Any]) -> None:
    if usage := told.get("usage"):
        record.prompt_tokens = int(usage.get("prompt_tokens") or 0)
        record.output_tokens = int(usage.get("completion_tokens") or 0)


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
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    async with asyncio.timeout(CONNECT_S):  # the name is looked up once, and not while somebody waits
        _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    address = writer.get_extra_info("peername")[:2]
    writer.close()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    given = sys.stdin.fileno()

    def read() -> None:
        if not os.read(given, 1024):
            ended.set()

    loop.add_reader(given, read)
    server = await loop.create_server(lambda: Asked(tape, address), "127.0.0.1", 0)
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
    with contextlib.suppress(BrokenPipeError):
        write_records(Path(file), tape.records)


if __name__ == "__main__":
    main()
