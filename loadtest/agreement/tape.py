"""Reads what passes the wire, both ways of one connection, and makes a `Record` of each request.

Nothing of our client is in it but the reader of events: it is a witness, also against ours.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import httptools

from loadtest.record import Record
from loadtest.streams import EventReader

KINDS = {"/v1/chat/completions": "chat", "/v1/completions": "completions"}  # what is noted, by the end of the path

Waiting = deque[Record | None]
"""Of a connection: its requests whose answer is not complete. None: one that is not noted."""


class Tape:
    """The requests that passed, in the order in which they came."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def begin(self, path: str, at_s: float) -> Record | None:
        """A request that began at `at_s`; None where it is none that generates. It has failed until it is complete."""
        kind = next((kind for end, kind in KINDS.items() if path.endswith(end)), None)
        if kind is None:
            return None
        record = Record(len(self.records), kind, "", at_s, at_s, failure="cut", message="not complete")
        self.records.append(record)
        return record


class _Reader:
    """Where the bytes are not HTTP, no more of them is read."""

    def __init__(self, parser: type[Any]) -> None:
        self._parser: Any = parser(self)
        self._now = 0.0

    def feed(self, data: bytes, now: float) -> None:
        """`data` came, or was passed on, at `now`."""
        self._now = now
        if self._parser is not None:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError:
                self._parser = None


class AskedReader(_Reader):
    """Requests. A request's time is when its first bytes came."""

    def __init__(self, tape: Tape, waiting: Waiting) -> None:
        super().__init__(httptools.HttpRequestParser)
        self._tape, self._waiting = tape, waiting
        self._began_s, self._target = 0.0, b""

    # Callbacks of the parser.
    def on_message_begin(self) -> None:
        self._began_s, self._target = self._now, b""

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_headers_complete(self) -> None:
        path = self._target.decode("latin-1").partition("?")[0]
        self._waiting.append(self._tape.begin(path, self._began_s))


class AnsweredReader(_Reader):
    """Answers, in the order of their requests. An event's time is when the last of its bytes was passed on."""

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(httptools.HttpResponseParser)
        self._waiting = waiting
        self._events: EventReader | None = None
        self._body, self._done = b"", False

    def ended(self, now: float) -> None:
        """The connection's end, which may be the end of an answer."""
        self._now = now
        if (record := self._record()) is not None and record.headers_s is not None:
            self._end(record)

    # Callbacks of the parser.
    def on_message_begin(self) -> None:
        self._events, self._body, self._done = None, b"", False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type" and value.startswith(b"text/event-stream"):
            self._events = EventReader()

    def on_headers_complete(self) -> None:
        if (record := self._record()) is not None:
            record.status, record.headers_s = self._parser.get_status_code(), self._now

    def on_body(self, data: bytes) -> None:
        if (record := self._record()) is None:
            return
        record.bytes += len(data)
        if self._events is None:
            self._body += data
            return
        for event in self._events.feed(data):
            self._take(record, event)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # the answer is still to come
            return
        if (record := self._record()) is not None:
            self._end(record)
        if self._waiting:
            self._waiting.popleft()

    def _record(self) -> Record | None:
        return self._waiting[0] if self._waiting else None

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
