"""What one request's answer says: the pieces as they come, read into its record."""

from __future__ import annotations

import json
from typing import Any

import httptools

from loadtest.record import Failure, Record
from loadtest.streams import EventReader
from loadtest.workload import Ask

MESSAGE_CHARACTERS = 300


class Broken(Exception):
    """How an answer failed."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class Answer:
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
        """Raises Broken for what is not HTTP, or tells of an error; others for what nobody expects in an answer."""
        self._now = now
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            raise Broken("answer", f"not HTTP: {error}") from None

    def ended(self) -> None:
        """The server closed the connection: the end of an answer whose length it did not tell, or too early. Of a
        refusal the status is enough."""
        if self.record.headers_s is None:
            raise Broken("connection", "the server closed the connection without an answer")
        if self.record.status == 200 and not self._done and not (self._events is None and self._whole()):
            raise Broken("cut", f"the answer ended after {self.record.bytes} bytes, before its end")
        self.complete = True

    def finish(self) -> None:
        """Reads what is read once the answer is complete. Raises Broken for an answer that is not what was asked."""
        record = self.record
        if record.status != 200:
            failure: Failure = {429: "429", 503: "503"}.get(record.status, "http")  # type: ignore[assignment]
            raise Broken(
                failure, f"{record.status}: {b''.join(self._body)[:MESSAGE_CHARACTERS].decode(errors='replace')}"
            )
        if self._events is None:
            self._read_whole()
        elif not self._done:
            raise Broken("cut", "the stream ended without [DONE]")
        elif record.first_s is None and record.output_tokens == 0:
            raise Broken("answer", "a stream without a token")
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
        if error := told.get("error"):
            raise Broken("answer", f"an error in the stream: {_words(error)}")
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
            raise Broken("answer", f"{self._ask.items} texts asked, {count} answered")
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
        raise Broken("answer", f"not a JSON object: {data[:MESSAGE_CHARACTERS].decode(errors='replace')}")
    return told


def _text_of(choice: dict[str, Any]) -> str:
    """Of a chat's event or answer, or of a completion's."""
    part = choice.get("delta") or choice.get("message") or choice
    return str(part.get("content") or part.get("reasoning_content") or part.get("text") or "")


def _words(error: Any) -> str:
    return str(error.get("message", error) if isinstance(error, dict) else error)
