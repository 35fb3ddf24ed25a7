"""Headers that both Serve and the front door would act on: the front door does, Serve is kept from it.

Serve calls `middlewares` in each process that takes HTTP, by the name in `CALLBACK`.
"""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CALLBACK = f"{__name__}:middlewares"
"""For `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`."""

_TIMEOUT = b"x-request-timeout-seconds"
_REQUEST_ID = b"x-request-id"


def middlewares() -> list[Middleware]:
    """What goes around Serve's own handling of each request."""
    return [Middleware(OwnHeaders)]


class OwnHeaders:
    """Leaves deadlines and request ids to the front door.

    At a caller's deadline Serve would cut a stream without a word and answer others in plain text, and it would send
    the request's id a second time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if any(name == _TIMEOUT for name, _ in scope["headers"]):
            # Serve looks at the last header of a name, where 0 is no limit; the front door at the first.
            scope["headers"] = [*scope["headers"], (_TIMEOUT, b"0")]

        async def send_one_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _first_only(list(message.get("headers", ())))
            await send(message)

        await self.app(scope, receive, send_one_id)


def _first_only(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    ids = [header for header in headers if header[0].lower() == _REQUEST_ID]
    return [header for header in headers if header[0].lower() != _REQUEST_ID] + ids[:1]
