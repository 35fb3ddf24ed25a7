"""The operators' port, with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cluster.node import free_ports
from deployments import admin_server
from deployments.admin_server import serve_admin

HOST = "127.0.0.1"
LIMIT_S = 20.0


def saying(word: str) -> Starlette:
    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse(word)

    return Starlette(routes=[Route("/", answer)])


@contextlib.asynccontextmanager
async def serving(word: str, port: int) -> AsyncIterator[None]:
    task = asyncio.create_task(serve_admin(saying(word), HOST, port))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def said(port: int) -> str:
    """What is answered there, as soon as something is."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            with contextlib.suppress(httpx.HTTPError):
                async with httpx.AsyncClient() as client:
                    return (await client.get(f"http://{HOST}:{port}/", timeout=LIMIT_S)).text
            await asyncio.sleep(0.02)


async def test_a_successor_answers_at_the_same_port() -> None:
    (port,) = free_ports(1)
    async with serving("first", port):
        assert await said(port) == "first"
        async with serving("second", port):
            heard: set[str] = set()
            async with asyncio.timeout(LIMIT_S):
                while heard != {"first", "second"}:
                    heard.add(await said(port))
        assert await said(port) == "first"


async def test_a_port_of_somebody_else_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admin_server, "RETRY_S", 0.02)
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        async with serving("ours", port):
            async with asyncio.timeout(LIMIT_S):
                while not caplog.records:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            other.close()
            assert await said(port) == "ours"
    assert len(caplog.records) == 1, "it is told once"
    assert f"operators cannot be answered at {HOST}:{port}" in caplog.text
