"""Failures before and after the first token, deadlines, and callers who leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any

import httpx
import pytest

from deployments.front_door.app import create_app
from engine.errors import CheckpointError, DeadlineExceeded, EngineFailed, InvalidRequest, Overloaded, StagelineError
from engine.request import Delta, FinishReason
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.sse import events
from tests.waiting import wait_until


async def complete(client: httpx.AsyncClient, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return await client.post("/v1/completions", json={"prompt": "Hi", "max_tokens": 64, **body}, headers=headers)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (InvalidRequest("The schema cannot be compiled.", param="response_format"), 400, "BadRequestError"),
        (Overloaded("The queue is full.", retry_after_s=2.2), 503, "ServiceUnavailableError"),
        (DeadlineExceeded("Too late."), 408, "RequestTimeoutError"),
        (EngineFailed("A replica died."), 500, "InternalServerError"),
    ],
)
async def test_failure_before_the_first_token(
    client: httpx.AsyncClient, engine: FakeEngine, failure: StagelineError, status: int, kind: str, stream: bool, n: int
) -> None:
    engine.failure = failure
    response = await complete(client, stream=stream, n=n)
    assert response.status_code == status
    assert response.json() == {
        "error": {"message": failure.message, "type": kind, "param": failure.param, "code": status}
    }
    assert response.headers.get("retry-after") == ("3" if status == 503 else None)
    assert not engine.open


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", [RuntimeError("secret path /srv/x"), CheckpointError("secret path /srv/x")])
async def test_internals_are_not_shown_but_logged(
    client: httpx.AsyncClient, engine: FakeEngine, failure: Exception, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    engine.failure = failure
    with caplog.at_level(logging.ERROR):
        response = await complete(client, {"X-Request-Id": "abc-1"}, stream=stream)
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "InternalServerError"
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == "abc-1"
    assert "abc-1" in caplog.text
    assert "secret" in caplog.text


async def test_delta_with_an_error(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.script = lambda _: [Delta(finish_reason=FinishReason.ERROR, error=InvalidRequest("No.", param="x"))]
    assert (await complete(client)).status_code == 400
    engine.script = lambda _: [Delta(finish_reason=FinishReason.ERROR)]
    assert (await complete(client)).status_code == 500
    engine.script = lambda _: [Delta(finish_reason=FinishReason.ABORT)]
    assert (await complete(client)).status_code == 500


async def test_engine_that_ends_without_finishing(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.script = lambda _: [Delta(tokens=(65,))]
    assert (await complete(client)).status_code == 500
    parts = events(await complete(client, stream=True))
    assert parts[0]["choices"][0]["text"] == "A"
    assert parts[1]["error"]["type"] == "InternalServerError"


@pytest.mark.parametrize("n", [1, 2])
async def test_failure_in_mid_stream(client: httpx.AsyncClient, engine: FakeEngine, n: int) -> None:
    engine.failure, engine.fail_after = EngineFailed("A replica died."), 3
    response = await complete(client, stream=True, n=n)
    assert response.status_code == 200
    parts = events(response)
    assert parts[-1]["error"] == {
        "message": "A replica died.",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
    assert sum("error" in part for part in parts) == 1
    assert not engine.open


async def test_one_failed_answer_ends_the_others(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    forever = asyncio.Event()

    async def gate(position: int) -> None:
        await forever.wait()

    original = engine.generate

    async def generate(variant: str, request: Any) -> Any:
        if request.id.endswith("-1"):
            raise Overloaded("The queue is full.")
        async for delta in original(variant, request):
            yield delta

    engine.gate = gate
    transport = httpx.ASGITransport(create_app(make_service(engine, generate=generate)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await complete(client, n=2)).status_code == 503
    assert not engine.open
    assert len(engine.aborted) == 1


async def hang(position: int) -> None:
    await asyncio.Event().wait()


async def test_deadline(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.gate = hang
    for stream in (False, True):
        response = await complete(client, {"x-request-timeout-seconds": "0.05"}, stream=stream)
        assert response.status_code == 408
        assert response.json()["error"]["code"] == 408
    assert not engine.open
    assert len(engine.aborted) == 2
    deadline = engine.requests[0].deadline_s
    assert deadline is not None
    assert deadline - engine.requests[0].arrival_s == pytest.approx(0.05)


async def test_deadline_in_mid_stream(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    async def gate(position: int) -> None:
        if position == 2:
            await hang(position)

    engine.gate = gate
    parts = events(await complete(client, {"x-request-timeout-seconds": "0.05"}, stream=True))
    assert [part["choices"][0]["text"] for part in parts[:-1]] == ["H", "e"]
    assert parts[-1]["error"]["code"] == 408
    assert not engine.open


async def test_timeout_of_the_engine_itself_is_no_deadline(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.failure = TimeoutError("a socket")
    assert (await complete(client, {"x-request-timeout-seconds": "60"})).status_code == 500


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 2])
async def test_cancelled_by_the_server(engine: FakeEngine, stream: bool, n: int) -> None:
    """Serve cancels the application's task when a caller leaves."""
    all_open = asyncio.Event()

    async def gate(position: int) -> None:
        if len(engine.open) == n:
            all_open.set()
        await hang(position)

    engine.gate = gate
    transport = httpx.ASGITransport(create_app(make_service(engine)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        task = asyncio.ensure_future(complete(client, stream=stream, n=n))
        await all_open.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert len(engine.aborted) == n
    assert not engine.open


def request_bytes(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /v1/completions HTTP/1.1", b"Host: test", b"Content-Type: application/json"]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), *headers, b"", b""]) + body


def connect(address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=10)


@pytest.mark.parametrize("stream", [b"false", b"true"])
def test_socket_cut_before_the_first_token(address: str, engine: FakeEngine, stream: bytes) -> None:
    engine.gate = hang
    with connect(address) as connection:
        connection.sendall(request_bytes(b'{"prompt": "Hi", "stream": ' + stream + b"}"))
        wait_until(lambda: engine.open, "the engine was not asked")
    wait_until(lambda: not engine.open, "the engine goes on")
    assert len(engine.aborted) == 1
    assert httpx.get(f"{address}/health").status_code == 200


def test_socket_cut_in_mid_stream(address: str, engine: FakeEngine) -> None:
    async def gate(position: int) -> None:
        if position == 3:
            await hang(position)

    engine.gate = gate
    with connect(address) as connection:
        connection.sendall(request_bytes(b'{"prompt": "Hi", "stream": true}'))
        received = b""
        while b'"text":"l"' not in received:
            received += connection.recv(4096)
    wait_until(lambda: not engine.open, "the engine goes on")
    assert len(engine.aborted) == 1


def test_caller_who_does_not_read_holds_the_engine_back_until_cut(address: str, engine: FakeEngine) -> None:
    bundle = Delta(tokens=(120,) * 1000)
    engine.script = lambda _: [bundle] * 20_000  # more than the buffers on the way can take
    with connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request_bytes(b'{"prompt": "Hi", "stream": true}'))
        wait_until(lambda: engine.sent > 100, "the engine says nothing")
    wait_until(lambda: not engine.open, "the engine goes on")
    assert len(engine.aborted) == 1


def test_hundred_megabytes_are_refused_unread(address: str) -> None:
    with connect(address) as connection:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: 104857600\r\n\r\n" + b"x" * 1000)
        received = b""
        while chunk := connection.recv(4096):  # ends, for the server closes
            received += chunk
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"PayloadTooLargeError" in received
    assert b"x-request-id" in received.lower()


def test_chunked_flood_is_refused(address: str) -> None:
    def flood() -> Any:
        for _ in range(1600):
            yield b" " * (1 << 16)

    with contextlib.suppress(httpx.TransportError):  # the server may close before the answer is read
        headers = {"content-type": "application/json"}
        response = httpx.post(f"{address}/v1/completions", content=flood(), headers=headers)
        assert response.status_code == 413
    assert httpx.get(f"{address}/health").status_code == 200
