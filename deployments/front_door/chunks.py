"""The bytes of Server-Sent Events. Everything of a chunk that does not change is made once per request, since a busy
server writes thousands of chunks a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

from deployments.front_door.logprobs import chat_logprobs, completion_logprobs
from deployments.front_door.plan import Job, Plan
from deployments.front_door.schemas.generation import StreamOptions
from deployments.front_door.text_state import Piece
from deployments.front_door.usage import Usage

DONE = b"data: [DONE]\n\n"

# They end no line of an event, but do where clients read it by `str.splitlines`, as httpx' `iter_lines` does.
_LINE_ENDS = str.maketrans({0x85: r"\u0085", 0x2028: r"\u2028", 0x2029: r"\u2029"})


def dumps(value: Any) -> str:
    """JSON as it goes over the wire: compact, in UTF-8, one line whatever is taken for the end of one."""
    return _one_line(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def quote(text: str) -> str:
    """The same of a text alone, quicker."""
    return _one_line(encode_basestring(text))


def _one_line(text: str) -> str:
    return text if text.isascii() else text.translate(_LINE_ENDS)


def event(value: Any) -> bytes:
    """One event."""
    return f"data: {dumps(value)}\n\n".encode()


class Chunks:
    """Writes the chunks of one streamed answer. `chat` chooses between the two kinds of objects."""

    def __init__(self, plan: Plan, options: StreamOptions | None, *, chat: bool) -> None:
        options = options or StreamOptions()
        self.usage = Usage(plan)
        self._chat = chat
        self._include_usage = options.include_usage
        self._continuous = options.continuous_usage_stats
        self._tokenizer = plan.target.model.tokenizer
        self._logprobs: Callable[..., dict[str, Any]] = chat_logprobs if chat else completion_logprobs
        kind = "chat.completion.chunk" if chat else "text_completion"
        self._envelope = {"id": plan.id, "object": kind, "created": plan.created, "model": plan.target.asked}
        start = f"data: {dumps(self._envelope)[:-1]}" + ',"choices":[{"index":'
        self._heads = [f'{start}{job.index},"delta":{{"content":' if chat else f'{start}{job.index},"text":'
                       for job in plan.jobs]  # fmt: skip
        self._middle = "}" if chat else ""
        self._tail = '}],"usage":null}\n\n' if options.include_usage else "}]}\n\n"
        self._plain_end = f'{self._middle},"logprobs":null,"finish_reason":null{self._tail}'
        self._begun = [False] * len(plan.jobs)

    def chunk(self, job: Job, piece: Piece) -> bytes:
        """The events for one piece, none for one that shows nothing. A chat's first event names the role, and comes
        with the first token even where that has no text yet."""
        self.usage.add(job, piece)
        lead = b"" if self._begun[job.index] else self._begin(job)
        if piece.finish_reason is None and not piece.logprobs and not self._continuous:
            if not piece.text:
                return lead
            return lead + f"{self._heads[job.index]}{quote(piece.text)}{self._plain_end}".encode()
        if not (piece.text or piece.logprobs or piece.finish_reason):
            return lead
        logprobs = dumps(self._logprobs(self._tokenizer, piece.logprobs)) if piece.logprobs else "null"
        reason = "null" if piece.finish_reason is None else f'"{piece.finish_reason}"'
        tail = f'}}],"usage":{dumps(self.usage.body())}}}\n\n' if self._continuous else self._tail
        end = f'{self._middle},"logprobs":{logprobs},"finish_reason":{reason}{tail}'
        return lead + f"{self._heads[job.index]}{quote(piece.text)}{end}".encode()

    def end(self) -> bytes:
        """What closes the stream: the usage, if asked for, and the end mark."""
        if not self._include_usage:
            return DONE
        return event({**self._envelope, "choices": [], "usage": self.usage.body()}) + DONE

    def _begin(self, job: Job) -> bytes:
        self._begun[job.index] = True
        if not self._chat:
            return b""
        delta = {"role": "assistant", "content": ""}
        choice = {"index": job.index, "delta": delta, "logprobs": None, "finish_reason": None}
        chunk: dict[str, Any] = {**self._envelope, "choices": [choice]}
        if self._continuous:
            chunk["usage"] = self.usage.body()
        elif self._include_usage:
            chunk["usage"] = None
        return event(chunk)
