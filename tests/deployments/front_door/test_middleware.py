from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.front_door.middleware import BodyPace
from engine.errors import RequestTooSlow

SCOPE: Scope = {"type": "http", "headers": []}


def part(body: bytes, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def receive_all(pace: type[BodyPace], messages: list[Message], **limits: float) -> tuple[bytes, list[Message]]:
    """What an application reads of a caller who sends these and then nothing; and what it answers."""
    came, sent = list(messages), []

    async def receive() -> Message:
        if came:
            return came.pop(0)
        await asyncio.sleep(30)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    read = b""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal read
        while True:
            try:
                message = await receive()
            except RequestTooSlow:
                await send({"type": "http.response.start", "status": 408, "headers": []})
                return
            read += message["body"]
            if not message["more_body"]:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                return

    await pace(app, **limits)(SCOPE, receive, send)  # type: ignore[arg-type]
    return read, sent


async def test_a_body_that_stops_is_given_up_and_the_connection_with_it() -> None:
    read, sent = await receive_all(BodyPace, [part(b"ab", True)], grace_s=0.05, bytes_per_s=1000)
    assert read == b"ab"
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_a_whole_body_passes_as_it_is() -> None:
    read, sent = await receive_all(BodyPace, [part(b"ab", True), part(b"cd", False)], grace_s=5)
    assert read == b"abcd"
    assert sent == [{"type": "http.response.start", "status": 200, "headers": []}]


async def test_what_has_come_buys_time() -> None:
    late = asyncio.Event()

    async def receive() -> Message:
        if not late.is_set():
            late.set()
            return part(b"x" * 1000, True)
        await asyncio.sleep(0.2)  # far more than the grace, far less than a thousand bytes are given
        return part(b"", False)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["more_body"] is False

    async def send(message: Message) -> None: ...

    await BodyPace(app, grace_s=0.1, bytes_per_s=50)(SCOPE, receive, send)


async def test_a_wait_for_the_caller_to_leave_has_no_end() -> None:
    async def receive() -> Message:
        if not asked:
            asked.append(1)
            return part(b"", False)
        await asyncio.sleep(0.2)
        return {"type": "http.disconnect"}

    asked: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    async def send(message: Message) -> None: ...

    await BodyPace(app, grace_s=0.05)(SCOPE, receive, send)


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_is_let_through(kind: str) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(receive)

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None: ...

    await BodyPace(app)({"type": kind}, receive, send)
    assert seen == [receive]
