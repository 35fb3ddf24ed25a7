"""Our client against a server whose timing is known. Times are compared with the server's own, or with one another."""

from __future__ import annotations

import resource
import socket
import statistics
import struct
import time
from typing import Any

import pytest

from loadtest.client import Client
from loadtest.errors import LoadTestError
from loadtest.latency import ttft_s
from loadtest.scenario import Closed, Kind, Requests, Scenario
from loadtest.workload import ask
from tests.loadtest.answering import answering, clock, send
from tests.loadtest.conftest import Timed


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_times_are_the_servers_within_two_percent(timed_server: Timed, kind: Kind) -> None:
    """By the median: whatever else runs here may hold up one of them."""
    records = [send(timed_server.url, "ttft=0.3,gap=0.02,n=16", kind=kind) for _ in range(5)]
    firsts, rests = [], []
    for record, truth in zip(records, timed_server.truth(), strict=True):
        assert (record.failure, record.output_tokens, len(record.gaps_s)) == ("", 16, 15)
        assert record.sent_s is not None
        assert record.first_s is not None
        assert record.last_s is not None
        times = [at_s for at_s, _ in truth["events"]]
        firsts.append((record.first_s - record.sent_s) / (times[0] - truth["arrived_s"]))
        rests.append((record.last_s - record.first_s) / (times[-1] - times[0]))
        assert sum(record.gaps_s) == pytest.approx(record.last_s - record.first_s, abs=1e-4)
    assert statistics.median(firsts) == pytest.approx(1, rel=0.02)
    assert statistics.median(rests) == pytest.approx(1, rel=0.02)


def test_how_many_tokens_were_asked_is_in_the_record(timed_server: Timed) -> None:
    record = send(timed_server.url, "ttft=0,gap=0,n=3", output_tokens=5)
    assert (record.exact_tokens, record.output_tokens) == (5, 3)


def test_a_chats_role_is_no_first_token(timed_server: Timed) -> None:
    record = send(timed_server.url, "ttft=0.3,headers=0,n=4", kind="chat")
    assert record.chunk_s is not None
    assert record.first_s is not None
    assert record.first_s - record.chunk_s > 0.2


def test_events_with_several_tokens_and_segments_with_several_events(timed_server: Timed) -> None:
    record = send(timed_server.url, "tokens=4,n=16,gap=0.005")
    assert (record.output_tokens, len(record.gaps_s)) == (16, 3)
    record = send(timed_server.url, "together=4,n=16,gap=0.005")
    assert (record.output_tokens, len(record.gaps_s)) == (16, 15)


def test_events_that_are_split_within_a_character(timed_server: Timed) -> None:
    record = send(timed_server.url, "split=5,n=4,text=ü€𝄞,comments=2,crlf=1,apart=1,empty=2,tail=0.05")
    assert record.failure == ""
    assert record.text == "ü€𝄞" * 4
    assert record.end_s is not None
    assert record.last_s is not None
    assert record.end_s - record.last_s > 0.04  # the usage and [DONE] are no tokens


@pytest.mark.parametrize(
    ("model", "failure", "words"),
    [
        ("status=429,retry_after=1", "429", "429"),
        ("status=503", "503", "503"),
        ("status=500", "http", "500"),
        ("cut=3,n=8", "cut", ""),
        ("cut=3,n=8,how=reset", "cut", ""),
        ("cut=3,n=8,how=clean", "cut", "DONE"),
        ("cut=0,n=8", "cut", ""),
        ("error=3,n=8", "answer", "error in the stream"),
    ],
)
def test_failures_by_kind(timed_server: Timed, model: str, failure: str, words: str) -> None:
    record = send(timed_server.url, model + ",ttft=0.01")
    assert record.failure == failure
    assert words in record.message
    assert record.end_s is not None


@pytest.mark.parametrize("hang", ["hang=0", "hang=3,n=8"])
def test_a_server_that_says_nothing_more_runs_into_the_time_limit(timed_server: Timed, hang: str) -> None:
    record = send(timed_server.url, hang + ",ttft=0.01", timeout_s=0.4)
    assert record.failure == "timeout"
    assert record.end_s is not None
    assert record.sent_s is not None
    assert record.end_s - record.sent_s >= 0.39


def test_a_slow_stream_as_a_whole_runs_into_the_time_limit(timed_server: Timed) -> None:
    """Every piece comes in time; the answer does not."""
    assert send(timed_server.url, "ttft=0.01,gap=0.05,n=100", timeout_s=0.4).failure == "timeout"


def test_no_server() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    record = send(f"http://127.0.0.1:{port}", "m")
    assert (record.failure, record.status, record.connected_s) == ("connection", 0, None)
    assert record.sent_s is not None, "the client had begun"


def test_a_server_that_accepts_nobody_is_no_connection_within_the_requests_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first, socket.socket() as second:
        for waiting in (first, second):  # they take the places of its queue
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        record = send(f"http://127.0.0.1:{full.getsockname()[1]}", "m", timeout_s=0.3)
    assert (record.failure, record.message) == ("connection", "no connection within 0.3 s")


def test_a_client_without_sockets_does_not_blame_the_server(timed_server: Timed) -> None:
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, most))
    try:
        record = send(timed_server.url, "ttft=0.01,n=1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
    assert record.failure == "client"
    assert "Too many open files" in record.message


def test_connecting_is_a_part_of_latencies(timed_server: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.create_connection

    def slowly(*arguments: Any) -> socket.socket:
        time.sleep(0.1)
        return connect(*arguments)

    monkeypatch.setattr(socket, "create_connection", slowly)
    record = send(timed_server.url, "ttft=0.01,n=1")
    assert record.sent_s is not None
    assert record.connected_s is not None
    assert record.connected_s - record.sent_s >= 0.1
    assert (ttft_s(record) or 0) >= 0.11


@pytest.mark.parametrize("kind", ["classify", "embeddings", "translate"])
@pytest.mark.parametrize("batch", [1, 3])
def test_answers_in_one_piece(timed_server: Timed, kind: Kind, batch: int) -> None:
    record = send(timed_server.url, "delay=0.1", kind=kind, batch=batch)
    assert (record.failure, record.items) == ("", batch)
    assert record.sent_s is not None
    assert record.first_s is not None
    assert record.first_s - record.sent_s >= 0.099
    assert record.text.startswith("{")


def test_a_completion_in_one_piece(timed_server: Timed) -> None:
    record = send(timed_server.url, "ttft=0.01,gap=0.001,n=4", stream=False)
    assert (record.failure, record.output_tokens, record.text, record.gaps_s) == ("", 4, " the" * 4, [])


@pytest.mark.parametrize("reset", [False, True])
def test_a_request_that_is_lost_on_a_kept_connection_is_not_sent_again(reset: bool) -> None:
    """The server may have been at work on it, and that time is no time of another try."""
    body = b'{"data": [{"label": "a"}]}'
    seen = []

    def answer(connection: socket.socket) -> None:
        seen.append(connection.recv(1 << 16))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        seen.append(connection.recv(1 << 16))
        time.sleep(0.2)  # at work
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    made = ask(Scenario(name="s", requests=(Requests(kind="classify", model="m"),), load=Closed(users=1)), 0)
    with answering(answer) as url:
        client = Client(url, clock, timeout_s=10)
        assert client.send(made, clock()).failure == ""
        lost = client.send(made, clock())
        client.connections.close()
    assert lost.failure == "connection"
    assert len(seen) == 2
    assert lost.sent_s is not None
    assert lost.end_s is not None
    assert lost.end_s - lost.sent_s >= 0.2


@pytest.mark.parametrize("key", ["schlüssel", "key\n", "key\r\nX-Other: 1", "🔑"])
def test_a_key_that_no_header_can_have_is_refused_at_once(key: str) -> None:
    with pytest.raises(LoadTestError, match="API key"):
        Client("http://127.0.0.1:1", clock, timeout_s=1, api_key=key)
