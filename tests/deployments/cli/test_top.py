"""`stageline top`, `profile` and `stacks` against a server that answers what a test says."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.cli.top import keys, look
from engine.errors import EngineFailed, InvalidRequest
from tests.deployments.sources.file_server import FileServer, send, serving
from tests.deployments.top.test_frame import STATUS, page

run = CliRunner().invoke


def take_profile(request: BaseHTTPRequestHandler) -> None:
    asked = json.loads(request.rfile.read(int(request.headers["content-length"])))
    if asked.get("model") != "none":
        send(request, json.dumps({"traceEvents": [], "asked": asked}).encode())
        return
    body = json.dumps({"error": {"message": "There is no such replica."}}).encode()
    request.send_response(404)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


@pytest.fixture
def server() -> Iterator[FileServer]:
    pages = {
        "/metrics": page(10, 1000, 0).encode(),
        "/status": json.dumps(STATUS).encode(),
        "/admin/stacks": json.dumps({"processes": {"front door": "Thread MainThread"}}).encode(),
    }
    with serving(FileServer(pages, post=take_profile)) as server:
        yield server


def test_one_frame(server: FileServer) -> None:
    result = run(app, ["top", "--once", "--every", "0.2", "--url", server.address, "--api-key", "sl-1"])
    assert result.exit_code == 0
    assert ">! bf16" in result.output
    assert {asked.authorization for asked in server.asked} == {"Bearer sl-1"}
    assert [asked.path for asked in server.asked] == ["/metrics", "/status"] * 2


def test_a_server_that_is_not_there_is_told() -> None:
    with httpx.Client(base_url="http://127.0.0.1:1") as client, pytest.raises(EngineFailed, match="Nothing answers"):
        look(client)


def test_a_missing_key_is_told(server: FileServer) -> None:
    def refuse(request: BaseHTTPRequestHandler) -> bool:
        request.send_error(401)
        return True

    server.fault = refuse
    with httpx.Client(base_url=server.address) as client, pytest.raises(EngineFailed, match="--api-key"):
        look(client)


def test_without_a_terminal_there_are_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    ended = threading.Event()
    with keys(ended):
        assert not ended.is_set()


def test_stacks(server: FileServer) -> None:
    result = run(app, ["stacks", "--url", server.address])
    assert result.output.startswith("===== front door\nThread MainThread\n")


def test_a_profile_is_written(server: FileServer, tmp_path: Path) -> None:
    plain, packed = tmp_path / "new" / "trace.json", tmp_path / "trace.json.gz"
    for path in (plain, packed):
        arguments = ["profile", "--seconds", "0.5", "--model", "m", "--out", str(path), "--url", server.address]
        assert run(app, arguments).exit_code == 0
    trace = json.loads(plain.read_text())
    assert trace["asked"] == {"seconds": 0.5, "model": "m"}
    assert json.loads(gzip.decompress(packed.read_bytes())) == trace


def test_why_there_is_no_profile_is_told(server: FileServer, tmp_path: Path) -> None:
    result = run(app, ["profile", "--model", "none", "--url", server.address, "--out", str(tmp_path / "t.json")])
    assert isinstance(result.exception, InvalidRequest | EngineFailed)
    assert str(result.exception) == "There is no such replica."
    assert not (tmp_path / "t.json").exists()
