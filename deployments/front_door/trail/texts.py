"""Logs what callers send and what they are answered, for those who asked for it (`logs.prompts`)."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("stageline.texts")

LONGEST = 16 << 10
"""Bytes of each body that are logged."""


class TextLog:
    """Plain ASGI middleware inside the one that gives requests their ids. Headers, which hold keys, are not logged."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        asked, answered = bytearray(), bytearray()

        async def hearing() -> Message:
            message = await receive()
            asked.extend(message.get("body", b"")[: LONGEST - len(asked)])
            return message

        async def telling(message: Message) -> None:
            answered.extend(message.get("body", b"")[: LONGEST - len(answered)])
            await send(message)

        try:
            await self.app(scope, hearing, telling)
        finally:
            log.info("asked %s: %s", scope["path"], asked.decode(errors="replace"))
            log.info("answered: %s", answered.decode(errors="replace"))
