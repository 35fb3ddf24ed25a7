"""Plain ASGI middleware around every request: its id, the last net for exceptions, and limits on its body."""

from __future__ import annotations

import asyncio
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.front_door.errors import to_http
from deployments.front_door.trail.record import CURRENT, MOST_FLUSHES, RECORD_KEY, Record, Tracer
from deployments.front_door.trail.ring import Ring
from deployments.logs import REQUEST_ID
from engine.errors import PayloadTooLarge, RequestTooSlow

REQUEST_ID_KEY = "stageline.request_id"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


class RequestContext:
    """Gives each request an id (the caller's `X-Request-Id` if it is a sane one), echoes it on every answer, and
    turns any exception that nobody caught into a 500 that keeps to the error format. Begins the request's record, and
    hands it to `ring`, if there is one, where it asks for work (POST), which `tracer` then traces. Where the server is
    `keyed`, whoever shows no key leaves neither: strangers could push out what others asked, and fill what collects
    traces."""

    def __init__(
        self, app: ASGIApp, ring: Ring | None = None, tracer: Tracer | None = None, keyed: bool = False
    ) -> None:
        self.app = app
        self.ring = ring
        self.tracer = tracer
        self.keyed = keyed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = _header(scope, b"x-request-id")
        request_id = given if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        name = scope[REQUEST_ID_KEY] = request_id.decode()
        method = scope["method"]
        record = scope[RECORD_KEY] = Record(name, method, "", time.time(), time.perf_counter())
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                record.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
                await send(message)
                return
            before = time.perf_counter()
            await send(message)
            now = time.perf_counter()
            record.sending_s += now - before
            record.flushes += 1
            if record.flushed is not None and record.flushes <= MOST_FLUSHES:
                record.flushed.append((now, len(message.get("body", b""))))

        ring = self.ring if method == "POST" else None
        was, now_at = REQUEST_ID.set(name), CURRENT.set(record)
        if ring is not None:
            ring.begin(record)
            if self.tracer is not None:
                record.tracing = self.tracer.begin(record, scope["headers"])
        try:
            await self.app(scope, receive, send_with_id)
        except Exception as error:
            answer = to_http(error, name)  # logs it
            if started:
                raise  # the body cannot be mended; the server cuts the connection
            await answer.response()(scope, receive, send_with_id)
        finally:
            record.ended = time.perf_counter()
            # As it is declared: an unknown one may be any text.
            record.path = getattr(scope.get("route"), "path", "")
            CURRENT.reset(now_at)
            REQUEST_ID.reset(was)
            if ring is not None:
                known = not self.keyed or record.key != ""
                ring.end(record, keep=known)
                if record.tracing is not None:
                    if known:
                        record.tracing.end()
                    else:
                        record.tracing.drop()
                    record.tracing = None


class BodyLimit:
    """Refuses a body over `max_bytes` before it is read whole: by its Content-Length, else by counting what arrives.

    The connection is closed then, for the rest of the body is still on its way.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = _header(scope, b"content-length")
        if length is None:
            await self._counted(scope, receive, send)
        elif not length.isdigit() or int(length[:20]) > self.max_bytes:
            response = to_http(self._too_large()).response()
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
        else:  # HTTP servers hold a body to its Content-Length
            await self.app(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen = 0

        async def counted_receive() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self.max_bytes:
                    raise self._too_large()
            return message

        async def closing_send(message: Message) -> None:
            if message["type"] == "http.response.start" and seen > self.max_bytes:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self.app(scope, counted_receive, closing_send)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"The request's body is over the limit of {self.max_bytes:,} bytes. Send less at a time."
        )


class BodyPace:
    """Gives up on a body that comes too slowly: it may take `grace_s` seconds, and one more for each `bytes_per_s`
    that have come. Else a caller could hold a request open for ever at a byte a minute."""

    def __init__(self, app: ASGIApp, grace_s: float = 30.0, bytes_per_s: int = 32 << 10) -> None:
        self.app = app
        self.grace_s = grace_s
        self.bytes_per_s = bytes_per_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        until = asyncio.get_running_loop().time() + self.grace_s
        whole = slow = False

        async def timed_receive() -> Message:
            nonlocal until, whole, slow
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                slow = True
                raise RequestTooSlow("The request's body came too slowly. Send it again, faster.") from None
            until += len(message.get("body", b"")) / self.bytes_per_s
            whole = not message.get("more_body", False)
            return message

        async def closing_send(message: Message) -> None:
            if slow and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self.app(scope, timed_receive, closing_send)
