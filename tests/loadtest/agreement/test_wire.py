"""The wire before the server with known timing: that it changes nothing, and sees what passes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from loadtest.agreement import witness
from loadtest.client import Client
from loadtest.clock import RunClock
from loadtest.errors import LoadTestError
from loadtest.record import Record, read_records
from loadtest.scenario import Closed, Requests, Scenario
from loadtest.workload import ask
from tests.loadtest.conftest import ROOT, Timed

QUICK = "ttft=0.02,gap=0.002,n=6"
LIMIT_S = 30.0


def scenario(**more: Any) -> Scenario:
    given = {"kind": "completions", "model": QUICK, "prompt_tokens": 5, "output_tokens": 6, **more}
    return Scenario(name="s", requests=(Requests.model_validate(given),), load=Closed(users=1))


def through(server: Timed, path: Path, count: int, **more: Any) -> tuple[list[Record], list[Record]]:
    """What our client saw of `count` requests, one after the other, and what the wire saw of them."""
    with witness.wire(server.url, path) as url:
        client = Client(url, RunClock(0.0), timeout_s=LIMIT_S)
        said = [client.send(ask(scenario(**more), number), 0.0) for number in range(count)]
        client.connections.close()
    return said, read_records(path)


@pytest.mark.parametrize("kind", ["completions", "chat"])
def test_it_sees_of_a_stream_what_the_client_sees(kind: str, timed_server: Timed, tmp_path: Path) -> None:
    said, seen = through(timed_server, tmp_path / "wire.jsonl", 3, kind=kind)
    assert [(one.kind, one.failure, one.status) for one in seen] == [(kind, "", 200)] * 3
    assert [one.output_tokens for one in seen] == [6, 6, 6]
    for ours, wires in zip(said, seen, strict=True):
        assert (wires.prompt_tokens, wires.bytes) == (ours.prompt_tokens, ours.bytes)
        assert len(wires.gaps_s) == 5
        assert wires.first_s is not None
        assert wires.last_s == pytest.approx(wires.first_s + sum(wires.gaps_s), abs=1e-5)
        assert [wires.sent_s, wires.headers_s, wires.first_s, wires.last_s, wires.end_s] == sorted(
            [wires.sent_s, wires.headers_s, wires.first_s, wires.last_s, wires.end_s]  # type: ignore[type-var]
        )


def test_it_stands_between_the_client_and_the_server(timed_server: Timed, tmp_path: Path) -> None:
    """By the order of times, those of the wire counted from its first request on."""
    said, seen = through(timed_server, tmp_path / "wire.jsonl", 2)
    truth = timed_server.truth()
    for ours, wires, true in zip(said, seen, truth, strict=True):
        assert ours.sent_s is not None
        assert ours.first_s is not None
        assert wires.sent_s is not None
        assert wires.first_s is not None
        assert true["events"][0][0] - true["arrived_s"] < wires.first_s - wires.sent_s < ours.first_s - ours.sent_s


def test_an_answer_in_one_piece_comes_at_its_end(timed_server: Timed, tmp_path: Path) -> None:
    _, (seen,) = through(timed_server, tmp_path / "wire.jsonl", 1, stream=False)
    assert (seen.failure, seen.output_tokens, seen.gaps_s) == ("", 6, [])
    assert seen.first_s == seen.last_s == seen.end_s


@pytest.mark.parametrize(
    ("model", "failure"), [("status=503", "http"), ("cut=2", "cut"), ("cut=2,how=reset", "cut"), ("error=2", "")]
)
def test_what_fails_has_failed(model: str, failure: str, timed_server: Timed, tmp_path: Path) -> None:
    """An error inside a stream that ends is for the clients to find: on the way it is an answer."""
    path = tmp_path / "wire.jsonl"
    (said,), (seen,) = through(timed_server, path, 1, model=f"{QUICK},{model}")
    assert said.failure
    assert seen.failure == failure


def test_bytes_are_unchanged_over_one_connection_also_of_what_is_not_noted(timed_server: Timed, tmp_path: Path) -> None:
    body = json.dumps({"model": "ttft=0,gap=0,n=3", "stream": True, "prompt": "ü " * 100_000})

    def answers(url: str) -> list[bytes]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=LIMIT_S)
        found = []
        for method, path, sent in (
            ("POST", "/v1/completions", body), ("GET", "/v1/models", None), ("POST", "/nothing", "{}"),
            ("POST", "/v1/completions", body),
        ):  # fmt: skip
            connection.request(method, path, None if sent is None else sent.encode())
            kept = connection.sock
            found.append(connection.getresponse().read())
            assert connection.sock is kept
        connection.close()
        return found

    path = tmp_path / "wire.jsonl"
    with witness.wire(timed_server.url, path) as url:
        assert answers(url) == answers(timed_server.url)
    assert [one.failure for one in read_records(path)] == ["", ""]


def test_a_request_that_is_left_has_no_answer(timed_server: Timed, tmp_path: Path) -> None:
    path = tmp_path / "wire.jsonl"
    body = {"model": "hang=2", "stream": True, "prompt": "a"}
    with witness.wire(timed_server.url, path) as url, pytest.raises(httpx.TimeoutException):
        httpx.post(f"{url}/v1/completions", json=body, timeout=0.5)
    (seen,) = read_records(path)
    assert (seen.failure, len(seen.gaps_s)) == ("cut", 1)
    with pytest.raises(LoadTestError, match="no answer"):
        witness.figures([seen])


def test_figures_are_those_of_our_own_records(timed_server: Timed, tmp_path: Path) -> None:
    _, seen = through(timed_server, tmp_path / "wire.jsonl", 4)
    found = witness.figures(seen)
    firsts = sorted(1000 * (one.first_s - one.sent_s) for one in seen if one.first_s and one.sent_s)
    assert (found.completed, found.failed) == (4, 0)
    assert found.ttft_p50_ms == pytest.approx((firsts[1] + firsts[2]) / 2)
    ends = [one.end_s for one in seen if one.end_s]
    assert found.requests_per_s == pytest.approx(4 / (max(ends) - seen[0].scheduled_s))
    assert found.output_tokens_per_s == pytest.approx(6 * found.requests_per_s)


@pytest.mark.parametrize(("url", "says"), [("http://127.0.0.1:9", "did not start"), ("https://a", "encrypted")])
def test_a_server_before_which_it_cannot_stand(url: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match=says), witness.wire(url, tmp_path / "wire.jsonl"):
        pass


def test_an_exception_ends_it(timed_server: Timed, tmp_path: Path) -> None:
    before = set(psutil.Process().children())

    def interrupted() -> None:
        with witness.wire(timed_server.url, tmp_path / "wire.jsonl"):
            assert set(psutil.Process().children()) - before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not set(psutil.Process().children()) - before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_records_written(number: int, timed_server: Timed, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.agreement.wire", timed_server.url, str(tmp_path / "wire.jsonl")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        httpx.get(f"http://127.0.0.1:{int(process.stdout.readline())}/v1/models", timeout=LIMIT_S)
        process.send_signal(number)
        assert process.wait(LIMIT_S) == 0
    assert read_records(tmp_path / "wire.jsonl") == []


def test_it_does_not_outlive_who_started_it(timed_server: Timed, tmp_path: Path) -> None:
    code = (
        "import pathlib, psutil, time\nfrom loadtest.agreement import witness\n"
        f"with witness.wire({timed_server.url!r}, pathlib.Path({str(tmp_path / 'wire.jsonl')!r})):\n"
        "    print(psutil.Process().children()[0].pid, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        pid = int(re.sub(rb"\D", b"", process.stdout.readline()))
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + LIMIT_S
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
