"""Sends one request and notes when everything of its answer came.

Locust's own client is not used for that: its `iter_lines` waits for 1,024 bytes, which shows first tokens late, and its
`response_time` of a stream is the time to the headers. Here a time is taken when a piece of the answer has been
received, before anything is made of it.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httptools

from loadtest.connection import Connections
from loadtest.record import Failure, Record
from loadtest.streams import EventReader
from loadtest.workload import Ask

PIECE = 1 << 16
MESSAGE_CHARACTERS = 300
Clock = Callable[[], float]


class _Broken(Exception):
    """How an answer failed."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class Client:
    """One server's client, for as many requests at once as there are callers. Times are the clock's."""

    def __init__(self, url: str, clock: Clock, *, timeout_s: float, api_key: str = "", keep_text: bool = False) -> None:
        self.connections = Connections(url)
        self._clock, self._timeout_s, self._keep_text = clock, timeout_s, keep_text
        self._key = f"Authorization: Bearer {api_key}\r\n" if api_key else ""

    def send(self, ask: Ask, scheduled_s: float, *, keep_text: bool = False) -> Record:
        """One request, to the end of its answer or to its failure, which is in the record. Raises nothing."""
        record = Record(ask.number, ask.kind, ask.model, scheduled_s, items=ask.items, exact_tokens=ask.exact_tokens)
        answer = _Answer(record, ask, keep_text or self._keep_text)
        deadline = time.monotonic() + self._timeout_s
        try:
            self._exchange(ask, answer, deadline)
            answer.finish()
        except _Broken as error:
            record.failure, record.message = error.failure, str(error)
        except TimeoutError:
            record.failure, record.message = "timeout", f"not complete within {self._timeout_s:g} s"
        except OSError as error:
            record.failure = "cut" if record.headers_s is not None else "connection"
            record.message = f"{type(error).__name__}: {error}"
        record.message = record.message[:MESSAGE_CHARACTERS]
        record.end_s = self._clock()
        return record

    def _exchange(self, ask: Ask, answer: _Answer, deadline: float) -> None:
        used_before = True
        while used_before:
            connection, used_before = self.connections.take()
            try:
                sent = self._try(connection, ask, answer, deadline, again=used_before)
            except BaseException:
                connection.close()
                raise
            if sent:
                if answer.reusable:
                    self.connections.keep(connection)
                else:
                    connection.close()
                return
            # The server had closed an idle connection before the request came: it saw nothing of it.
            connection.close()

    def _try(self, connection: socket.socket, ask: Ask, answer: _Answer, deadline: float, *, again: bool) -> bool:
        """False where `again` is allowed and nothing of an answer came."""
        head = (
            f"POST {self.connections.prefix}{ask.path} HTTP/1.1\r\nHost: {self.connections.host}\r\n"
            f"Content-Type: application/json\r\nAccept: */*\r\n{self._key}Content-Length: {len(ask.body)}\r\n\r\n"
        )
        record = answer.record
        try:
            connection.settimeout(_left(deadline))
            record.sent_s = self._clock()
            connection.sendall(head.encode("latin-1") + ask.body)
            piece = connection.recv(PIECE)
        except (BrokenPipeError, ConnectionError):
            if again:
                return False
            raise
        if not piece and again:
            return False
        while piece:
            answer.take(piece, self._clock())
            if answer.complete:
                return True
            connection.settimeout(_left(deadline))
            piece = connection.recv(PIECE)
        answer.ended()
        return True


def _left(deadline: float) -> float:
    """Seconds, above zero. Raises TimeoutError when none are left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Answer:
    """What becomes of the pieces: the parser's callbacks fill the record."""

    def __init__(self, record: Record, ask: Ask, keep_text: bool) -> None:
        self.record, self._ask, self._keep_text = record, ask, keep_text
        self._parser = httptools.HttpResponseParser(self)
        self._events: EventReader | None = None
        self._body: list[bytes] = []
        self._texts: list[str] = []
        self._now = 0.0
        self.complete = False
        self.reusable = False
        self._done = False  # [DONE] came

    def take(self, piece: bytes, now: float) -> None:
        """Raises _Broken for what is not HTTP, or tells of an error."""
        self._now = now
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, _Broken):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise _Broken("answer", f"not HTTP: {error}") from None

    def ended(self) -> None:
        """The server closed the connection: the end of an answer whose length it did not tell, or too early."""
        if self.record.headers_s is None:
            raise _Broken("connection", "the server closed the connection without an answer")
        if not self._done and not (self._events is None and self._whole()):
            raise _Broken("cut", f"the answer ended after {self.record.bytes} bytes, before its end")
        self.complete = True

    def finish(self) -> None:
        """Reads what is read once the answer is complete. Raises _Broken for an answer that is not what was asked."""
        record = self.record
        if record.status != 200:
            failure: Failure = {429: "429", 503: "503"}.get(record.status, "http")  # type: ignore[assignment]
            raise _Broken(
                failure, f"{record.status}: {b''.join(self._body)[:MESSAGE_CHARACTERS].decode(errors='replace')}"
            )
        if self._events is None:
            self._read_whole()
        elif not self._done:
            raise _Broken("cut", "the stream ended without [DONE]")
        elif record.first_s is None and record.output_tokens == 0:
            raise _Broken("answer", "a stream without a token")
        if self._keep_text and self._texts:
            record.text = "".join(self._texts)

    # Callbacks of the parser.
    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-type" and value.startswith(b"text/event-stream"):
            self._events = EventReader()
        elif name == b"x-stageline-variant":
            self.record.variant = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.record.status = self._parser.get_status_code()
        self.record.headers_s = self._now

    def on_body(self, data: bytes) -> None:
        self.record.bytes += len(data)
        if self._events is None or self.record.status != 200:
            self._body.append(data)
            return
        for event in self._events.feed(data):
            self._take_event(event)

    def on_message_complete(self) -> None:
        self.complete = True
        self.reusable = self._parser.should_keep_alive()

    def _take_event(self, event: bytes) -> None:
        if event == b"[DONE]":
            self._done = True
            return
        record = self.record
        told = _object(event)
        if "error" in told:
            raise _Broken("answer", f"an error in the stream: {_words(told['error'])}")
        if choices := told.get("choices"):
            if record.chunk_s is None:
                record.chunk_s = self._now
            if text := _text_of(choices[0]):
                if record.last_s is None:
                    record.first_s = self._now
                else:
                    record.gaps_s.append(round(self._now - record.last_s, 6))
                record.last_s = self._now
                if self._keep_text:
                    self._texts.append(text)
        self._take_usage(told)

    def _whole(self) -> bool:
        """Without a length and without chunks, JSON that can be read is whole."""
        try:
            json.loads(b"".join(self._body))
        except ValueError:
            return False
        return True

    def _read_whole(self) -> None:
        record = self.record
        body = b"".join(self._body)
        told = _object(body)
        record.first_s = record.last_s = self._now
        self._take_usage(told)
        if choices := told.get("choices"):
            self._texts.append(_text_of(choices[0]))
            return
        answers = told.get("data", told.get("translatedText"))
        count = len(answers) if isinstance(answers, list) else int(isinstance(answers, str))
        if count != self._ask.items:
            raise _Broken("answer", f"{self._ask.items} texts asked, {count} answered")
        self._texts.append(body.decode(errors="replace"))

    def _take_usage(self, told: dict[str, Any]) -> None:
        if usage := told.get("usage"):
            self.record.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            self.record.output_tokens = int(usage.get("completion_tokens") or 0)


def _object(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise _Broken("answer", f"not a JSON object: {data[:MESSAGE_CHARACTERS].decode(errors='replace')}")
    return told


def _text_of(choice: dict[str, Any]) -> str:
    """Of a chat's event or answer, or of a completion's."""
    part = choice.get("delta") or choice.get("message") or choice
    return str(part.get("content") or part.get("reasoning_content") or part.get("text") or "")


def _words(error: Any) -> str:
    return str(error.get("message", error) if isinstance(error, dict) else error)
