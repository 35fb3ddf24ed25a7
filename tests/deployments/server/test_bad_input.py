"""What must be refused, through the real proxy; the server answers as before afterwards."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.deployments.server.running import ROOMY, TIGHT, Server
from tests.deployments.server.sockets import connect, read_until

pytestmark = [pytest.mark.ray, pytest.mark.model]

HUNDRED_MB = 100 << 20
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def _answers_afterwards(server: Server) -> Iterator[None]:
    pid = server.replica(ROOMY)["pid"]
    yield
    assert server.complete(max_tokens=1).status_code == 200
    assert server.replica(ROOMY)["pid"] == pid


def schema(value: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": value}}}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"prompt": "A"', "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"prompt": "A", "temperature": NaN}', "not valid JSON"),
        (b'{"prompt": "A", "temperature": Infinity}', "not valid JSON"),
        (b'{"prompt": "A", "temperature": "1"}', "temperature"),
        (b'{"prompt": "\\ud800 alone"}', "not valid JSON"),
        (b'{"prompt": "\\udc00"}', "not valid JSON"),
        (b'{"prompt": "\xff"}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
    ids=["cut", "empty", "list", "nan", "infinity", "string", "surrogate", "low-surrogate", "not-utf8", "deep"],
)
def test_malformed_bodies(server: Server, raw: bytes, told: str) -> None:
    answer = httpx.post(f"{server.url}/v1/completions", content=raw, headers=JSON, timeout=60)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "BadRequestError"
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": [49152]}, "prompt"),
        ({"prompt": "word " * 9000}, "prompt"),
        ({"prompt": "x" * 5_000_000}, "prompt"),
        ({"model": TIGHT, "prompt": "word " * 1100}, "prompt"),
        ({"stop": [f"stop {number}" for number in range(10_000)]}, "stop"),
        ({"n": 10_000}, "n"),
        ({"logprobs": 1000}, "logprobs"),
        ({"logit_bias": {"49152": 1}}, "logit_bias"),
        ({"tempratur": 1}, "tempratur"),
        (schema({"type": "string", "pattern": "(("}), "response_format"),
        (schema({"type": "no-such-type"}), "response_format"),
        (schema({"$ref": "#/nowhere"}), "response_format"),
        ({"guided_regex": "(" * 50}, None),
    ],
    ids=[
        "empty", "token", "long", "very-long", "long-for-tight", "stops", "n", "logprobs", "bias", "unknown",
        "pattern", "type", "reference", "regex",
    ],
)  # fmt: skip
def test_refused_values(server: Server, body: dict[str, Any], param: str | None) -> None:
    answer = server.complete(max_tokens=1, **body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "BadRequestError"
    assert len(error["message"]) < 1000
    if param is not None:
        assert str(error["param"]).startswith(param)


def test_an_unknown_model_is_told_the_known_ones(server: Server) -> None:
    answer = server.complete(model="no-such-model")
    assert answer.status_code == 404
    assert ROOMY in answer.json()["error"]["message"]
    assert TIGHT in answer.json()["error"]["message"]


def test_unknown_paths_and_methods(server: Server) -> None:
    assert httpx.get(f"{server.url}/v1/nothing").json()["error"]["code"] == 404
    assert httpx.get(f"{server.url}/v1/completions").json()["error"]["code"] == 405


def send_all(connection: socket.socket, pieces: Iterator[bytes]) -> int:
    """Sends until the other side has had enough; how many bytes went out."""
    sent = 0
    try:
        for piece in pieces:
            connection.sendall(piece)
            sent += len(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return sent


def receive_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def test_a_huge_body_is_refused_by_its_announced_size(server: Server) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with connect(server) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % HUNDRED_MB + b" " * 1000)
        received = read_until(connection, b'"code":413')
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"PayloadTooLargeError" in received


@pytest.mark.parametrize("chunked", [True, False])
def test_a_huge_body_is_not_read_to_its_end(server: Server, chunked: bool) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    piece = b" " * (1 << 16)
    with connect(server) as connection:
        if chunked:
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            piece = b"10000\r\n" + piece + b"\r\n"
        else:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % HUNDRED_MB)
        sent = send_all(connection, (piece for _ in range(HUNDRED_MB >> 16)))
        received = receive_all(connection)
    assert sent < HUNDRED_MB // 2
    assert received == b"" or received.startswith(b"HTTP/1.1 413 ")
