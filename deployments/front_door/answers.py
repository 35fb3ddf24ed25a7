"""The two ways of answering a generation request: whole, or as a stream of Server-Sent Events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.front_door.chunks import DONE, Chunks, dumps, event
from deployments.front_door.errors import to_http
from deployments.front_door.generation import ClientGone, run_plan, unless_gone
from deployments.front_door.logprobs import chat_logprobs, completion_logprobs
from deployments.front_door.metrics import Metrics
from deployments.front_door.middleware import REQUEST_ID_KEY
from deployments.front_door.plan import Job, Plan
from deployments.front_door.schemas.generation import GenerationBody
from deployments.front_door.text_state import Piece, TokenEntry
from deployments.front_door.trail.record import record_of
from deployments.front_door.usage import Usage

CLIENT_GONE = 499
"""nginx's status for a caller who left; nobody reads it but the access log."""


async def answer(request: Request, body: GenerationBody, plan: Plan, metrics: Metrics, *, chat: bool) -> Response:
    """Answer as the body asks. Raises the engine's errors, for a stream only by way of its error events."""
    if body.stream:
        record_of(request.scope).streamed = True
        return StreamedAnswer(plan, metrics, Chunks(plan, body.stream_options, chat=chat))
    try:
        content = await unless_gone(request.receive, _whole(plan, metrics, chat=chat))
    except ClientGone:
        return Response(status_code=CLIENT_GONE)
    return Response(dumps(content), media_type="application/json", headers=plan.target.headers)


@dataclass(slots=True)
class _Choice:
    texts: list[str] = field(default_factory=list)
    entries: list[TokenEntry] = field(default_factory=list)
    finish_reason: str | None = None


async def _whole(plan: Plan, metrics: Metrics, *, chat: bool) -> dict[str, Any]:
    choices = [_Choice() for _ in plan.jobs]
    usage = Usage(plan)

    async def collect(job: Job, piece: Piece) -> None:
        usage.add(job, piece)
        choice = choices[job.index]
        choice.texts.append(piece.text)
        choice.entries.extend(piece.logprobs)
        choice.finish_reason = piece.finish_reason

    await run_plan(plan, metrics, collect)
    tokenizer = plan.target.model.tokenizer
    shown: list[dict[str, Any]] = []
    for job, choice in zip(plan.jobs, choices, strict=True):
        text = "".join(choice.texts)
        logprobs: dict[str, Any] | None = None
        if job.options.logprobs:
            logprobs = (chat_logprobs if chat else completion_logprobs)(tokenizer, choice.entries)
        said = {"message": {"role": "assistant", "content": text, "refusal": None}} if chat else {"text": text}
        shown.append({"index": job.index, **said, "logprobs": logprobs, "finish_reason": choice.finish_reason})
    return {
        "id": plan.id,
        "object": "chat.completion" if chat else "text_completion",
        "created": plan.created,
        "model": plan.target.asked,
        "choices": shown,
        "usage": usage.body(),
    }


class StreamedAnswer(Response):
    """A stream of events, written straight to the server.

    Nothing is sent before the engine's first token, so what fails until then gets its proper status. What fails later
    becomes an error event and the end mark.
    """

    def __init__(self, plan: Plan, metrics: Metrics, chunks: Chunks) -> None:
        super().__init__(media_type="text/event-stream", headers=plan.target.headers)
        del self.headers["content-length"]
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"  # proxies shall pass each event on at once
        self._plan = plan
        self._metrics = metrics
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._stream(scope, receive, send))
        except ClientGone:
            record_of(scope).gone = True

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def write(data: bytes, more: bool = True) -> None:
            nonlocal started
            try:
                if not started:
                    started = True
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": data, "more_body": more})
            except OSError as error:  # how some servers tell that the connection is lost
                raise ClientGone from error

        async def emit(job: Job, piece: Piece) -> None:
            if data := self._chunks.chunk(job, piece):
                await write(data)

        try:
            await run_plan(self._plan, self._metrics, emit)
            last = self._chunks.end()
        except ClientGone:
            raise
        except Exception as error:
            failure = to_http(error, scope.get(REQUEST_ID_KEY, ""))
            if not started:
                await failure.response()(scope, receive, send)
                return
            last = event(failure.body) + DONE
        await write(last, more=False)
