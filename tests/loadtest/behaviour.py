"""What the server with known timing does with one request: read from the request, and worked out before it is done.

Options are `name=value`, with `,` or `;` between: `ttft=0.3,gap=0.02,n=16`. Seconds, unless said otherwise. Those that
are numbers may be ranges, `ttft=0.1..0.3`: requests then take values that are spread evenly over it, in a fixed order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

GOLDEN = 0.6180339887498949  # its multiples, without their whole part, fill 0 to 1 evenly from the first few on

FAULTS = ("status", "cut", "hang", "error")
NEVER = -1


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Times count from when the request was read (with `serial`, from its turn)."""

    ttft: float = 0.1
    gap: float = 0.01  # from a token to the next
    n: int = 0  # tokens; 0: what the request asks for, or 16
    text: str = " the"  # of each token
    tokens: int = 1  # in an event, which comes when its first is due
    together: int = 1  # events in one TCP segment, which comes when its first is due
    split: int = 1  # TCP segments of an event, `pause` apart; the first cut is within a character where one can be cut
    pause: float = 0.002
    headers: float = 0.0  # status and headers; `first`: with the first token, as Stageline does
    empty: int = 0  # events with empty text, sent with the headers (a chat's first event has its role anyway)
    comments: int = 0  # SSE comments, sent with the headers
    crlf: int = 0  # 1: lines of the stream end in \r\n
    apart: int = 0  # 1: the finish reason has an event of its own, without text
    tail: float = 0.0  # from the last token to usage and [DONE]
    usage: int = 1  # 0: none, even if it is asked for
    delay: float = 0.01  # of /classify, /v1/embeddings and /translate
    read: float = 0.0  # the body is not read before (only from the header: it must be known by then)
    serial: int = 0  # so many such requests at a time, the others wait for their turn; 0: all
    every: int = 1  # only each so manieth request meets with the faults that follow
    status: int = 200
    retry_after: int = 0
    cut: int = NEVER  # the answer ends after so many events with text (in one piece: after half of it)
    how: str = "close"  # of the cut: close, reset, or clean (HTTP's end is there, the stream's is not)
    hang: int = NEVER  # nothing more comes after so many events with text; 0: not even the headers
    error: int = NEVER  # after so many events with text there is an event with an error, and [DONE]


def read_behaviour(number: int, *texts: str) -> Behaviour:
    """`number` counts requests from 0; a later text goes before an earlier. Raises ValueError for unknown options."""
    given: dict[str, str] = {}
    for text in texts:
        pairs = [part.partition("=") for part in text.replace(";", ",").split(",") if "=" in part]
        given.update({name.strip(): value for name, _, value in pairs})
    kinds = {one.name: one.type for one in fields(Behaviour)}
    if unknown := given.keys() - kinds.keys():
        raise ValueError(f"there is no option {', '.join(sorted(unknown))}. There are: {', '.join(kinds)}.")
    values: dict[str, Any] = {name: _value(kinds[name], value, number) for name, value in given.items()}
    if (number + 1) % values.get("every", 1):
        values = {name: value for name, value in values.items() if name not in FAULTS}
    return Behaviour(**values)


def _value(kind: Any, value: str, number: int) -> str | int | float:
    if kind == "str":
        return value
    if value == "first":
        return float("inf")
    low, _, high = value.partition("..")
    drawn = float(low) + (float(high or low) - float(low)) * (((number + 1) * GOLDEN) % 1)
    return round(drawn) if kind == "int" else drawn


@dataclass(frozen=True, slots=True)
class Write:
    """So many bytes at one time. `tokens` of each event with text that is whole with these bytes."""

    at_s: float
    data: bytes
    tokens: tuple[int, ...] = ()
    choices: bool = False  # an event with `choices` is in it


@dataclass(frozen=True, slots=True)
class Stream:
    """The body of a streamed answer, each write framed as HTTP's chunks are."""

    writes: tuple[Write, ...]
    ends: Literal["whole", "close", "reset", "clean", "hang"]


def plan_stream(one: Behaviour, body: Mapping[str, Any], chat: bool) -> Stream:
    """All that is sent after the headers, in order."""
    n, event = output_tokens(one, body), _Events(one, body, chat)
    first_s = min(one.headers, one.ttft)
    writes = [Write(first_s, _chunk(b": \n\n"))] * one.comments
    writes += [Write(first_s, _chunk(event.text("", role=True)), choices=True)] * chat
    writes += [Write(first_s, _chunk(event.text("")), choices=True)] * one.empty
    sizes = [min(one.tokens, n - begin) for begin in range(0, n, one.tokens)]
    stop = min((k for k in (one.cut, one.hang, one.error) if k != NEVER), default=None)
    at_s = one.ttft
    for begin in range(0, len(sizes), one.together):
        group = sizes[begin : begin + one.together][: None if stop is None else max(0, stop - begin)]
        ends = [stop is None and not one.apart and begin + i + 1 == len(sizes) for i in range(len(group))]
        if group:
            data = b"".join(
                event.text(one.text * size, "length" if end else None) for size, end in zip(group, ends, strict=True)
            )
            writes += _pieces(at_s, data, tuple(group), one)
        at_s += one.gap * sum(sizes[begin : begin + one.together])
    last_s = max((write.at_s for write in writes), default=0.0)
    if stop is not None and stop == one.error:
        return Stream((*writes, Write(last_s, _chunk(event.error() + event.done()))), "whole")
    if stop is not None:
        return Stream(tuple(writes), "hang" if stop == one.hang else _HOW[one.how])
    end = event.text("", "length") if one.apart else b""
    if one.usage and (body.get("stream_options") or {}).get("include_usage"):
        end += event.usage(usage(body, n))
    return Stream((*writes, Write(last_s + one.tail, _chunk(end + event.done()), choices=bool(one.apart))), "whole")


_HOW: dict[str, Literal["close", "reset", "clean"]] = {"close": "close", "reset": "reset", "clean": "clean"}


def output_tokens(one: Behaviour, body: Mapping[str, Any]) -> int:
    return one.n or body.get("max_completion_tokens") or body.get("max_tokens") or 16


def usage(body: Mapping[str, Any], output: int) -> dict[str, int]:
    """A prompt's tokens are its words."""
    prompt = body.get("prompt") or " ".join(str(message["content"]) for message in body.get("messages", ()))
    words = len(prompt) if isinstance(prompt, list) else len(str(prompt).split())
    return {"prompt_tokens": words, "completion_tokens": output, "total_tokens": words + output}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _pieces(at_s: float, data: bytes, tokens: tuple[int, ...], one: Behaviour) -> Iterator[Write]:
    framed = _chunk(data)
    # A byte 10xxxxxx continues a character of UTF-8.
    inside = next((i for i, byte in enumerate(framed) if byte & 0xC0 == 0x80), len(framed) // 2)
    rest = len(framed) - inside
    cuts = [0, *(inside + rest * i // max(1, one.split - 1) for i in range(one.split - 1)), len(framed)]
    for i in range(one.split):
        whole = i + 1 == one.split
        yield Write(at_s + i * one.pause, framed[cuts[i] : cuts[i + 1]], tokens if whole else (), whole)


class _Events:
    """Events of one stream, as bytes."""

    def __init__(self, one: Behaviour, body: Mapping[str, Any], chat: bool) -> None:
        self._line = b"\r\n" if one.crlf else b"\n"
        self._chat = chat
        kind = "chat.completion.chunk" if chat else "text_completion"
        self._head = {"id": "timed", "object": kind, "created": 0, "model": body.get("model", "")}

    def text(self, text: str, finish: str | None = None, role: bool = False) -> bytes:
        delta = {"role": "assistant", "content": text} if role else {"content": text}
        said: dict[str, Any] = {"delta": delta} if self._chat else {"text": text}
        return self._event({**self._head, "choices": [{"index": 0, **said, "finish_reason": finish}]})

    def usage(self, counts: Mapping[str, int]) -> bytes:
        return self._event({**self._head, "choices": [], "usage": counts})

    def error(self) -> bytes:
        return self._event({"error": {"message": "as asked", "type": "server_error", "param": None, "code": 500}})

    def done(self) -> bytes:
        return b"data: [DONE]" + self._line * 2

    def _event(self, content: Mapping[str, Any]) -> bytes:
        return b"data: " + json.dumps(content, ensure_ascii=False).encode() + self._line * 2
