from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from deployments.front_door.app import create_app
from deployments.front_door.generation import ClientGone, unless_gone
from tests.deployments.front_door.fakes import FakeEngine, make_service


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def test_work_that_ends_is_answered() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 5

    assert await unless_gone(never, work()) == 5


async def test_failure_of_the_work_is_raised() -> None:
    async def work() -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await unless_gone(never, work())


@pytest.mark.parametrize("failing", [False, True])
async def test_work_is_cancelled_and_awaited_when_the_caller_leaves(failing: bool) -> None:
    messages: list[Message] = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    cleaned = False

    async def receive() -> Message:
        await asyncio.sleep(0)
        if failing:
            raise RuntimeError("the channel is closed")
        return messages.pop(0)

    async def work() -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned = True

    with pytest.raises(ClientGone):
        await unless_gone(receive, work())
    assert cleaned


@pytest.mark.parametrize("fails_at", ["http.response.start", "http.response.body"])
async def test_server_that_cannot_send_ends_the_request(fails_at: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    app = create_app(make_service(engine))
    body = b'{"prompt": "Hi", "stream": true, "n": 2}'
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            return await never()
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == fails_at:
            raise OSError("connection lost")

    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/completions",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
        "client": None,
        "server": None,
    }
    await app(scope, receive, send)
    assert not engine.open
    assert len(engine.aborted) == 2
    assert caplog.records == []
