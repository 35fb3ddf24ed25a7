"""The server that clients are held against does what it is asked for, and tells the truth about it."""

from __future__ import annotations

import json
import socket
import time
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.loadtest.behaviour import Behaviour, plan_stream, read_behaviour
from tests.loadtest.conftest import Timed

BODY = {"model": "", "prompt": "one two three", "max_tokens": 4, "stream": True}
WITH_USAGE = {**BODY, "stream_options": {"include_usage": True}}


def plain(data: bytes) -> bytes:
    """Without HTTP's chunks."""
    found = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        found, data = found + rest[:length], rest[length + 2 :]
    return found


def events(one: Behaviour, body: dict[str, Any] = WITH_USAGE, chat: bool = False) -> list[Any]:
    """What the stream's events hold, in order."""
    text = plain(b"".join(write.data for write in plan_stream(one, body, chat).writes)).decode()
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_options_are_read_and_unknown_ones_refused() -> None:
    assert read_behaviour(0, "ttft=0.3,n=5", "any-model", "n=7") == Behaviour(ttft=0.3, n=7)
    with pytest.raises(ValueError, match="ttfb"):
        read_behaviour(0, "ttfb=0.3")


def test_a_range_is_filled_evenly() -> None:
    drawn = sorted(read_behaviour(number, "ttft=0.1..0.3").ttft for number in range(100))
    assert drawn[0] >= 0.1
    assert drawn[-1] <= 0.3
    assert max(later - earlier for earlier, later in pairwise(drawn)) < 0.2 * 3 / 100


def test_faults_come_each_so_manieth_time() -> None:
    assert [read_behaviour(number, "every=3,status=503").status for number in range(6)] == [200, 200, 503] * 2


def test_a_stream_is_as_openai_has_it() -> None:
    first, second, third, last, counted, done = events(Behaviour(text=" a"))
    assert [one["choices"][0]["text"] for one in (first, second, third, last)] == [" a"] * 4
    assert [one["choices"][0]["finish_reason"] for one in (first, second, third, last)] == [None] * 3 + ["length"]
    assert counted["choices"] == []
    assert counted["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert done == "[DONE]"
    role, first, *_ = events(Behaviour(), {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}, True)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["choices"][0]["delta"] == {"content": " the"}


def test_several_tokens_share_an_event_and_several_events_a_segment() -> None:
    writes = plan_stream(Behaviour(n=10, tokens=2, together=2, ttft=0.5, gap=0.1), BODY, False).writes
    assert [(write.at_s, write.tokens) for write in writes[:-1]] == [
        (0.5, (2, 2)),
        (pytest.approx(0.9), (2, 2)),
        (pytest.approx(1.3), (2,)),
    ]


def test_a_split_event_is_cut_within_a_character_and_counts_when_it_is_whole() -> None:
    pieces = plan_stream(Behaviour(n=1, text="ü", split=3, ttft=0.5, pause=0.1), BODY, False).writes[:3]
    assert [(piece.at_s, piece.tokens) for piece in pieces] == [(0.5, ()), (0.6, ()), (0.7, (1,))]
    with pytest.raises(UnicodeDecodeError):
        pieces[0].data.decode()
    assert '"ü"' in b"".join(piece.data for piece in pieces).decode()


@pytest.mark.parametrize(
    ("one", "ends", "texts", "last"),
    [
        (Behaviour(cut=2), "close", 2, None),
        (Behaviour(cut=0, how="reset"), "reset", 0, None),
        (Behaviour(cut=3, how="clean"), "clean", 3, None),
        (Behaviour(hang=1), "hang", 1, None),
        (Behaviour(error=2), "whole", 2, "[DONE]"),
    ],
)
def test_faults_of_a_stream(one: Behaviour, ends: str, texts: int, last: str | None) -> None:
    assert plan_stream(one, WITH_USAGE, False).ends == ends
    found = events(one)
    assert sum("choices" in event for event in found if event != "[DONE]") == texts
    assert (found[-1:] == ["[DONE]"]) == (last == "[DONE]")


def test_what_is_seen_is_what_it_tells(timed_server: Timed) -> None:
    """Against a bare socket. Bytes cannot come before they were sent, nor can the next have been sent by then."""
    model = "ttft=0.05,gap=0.02,n=5"
    body = json.dumps({**WITH_USAGE, "model": model}).encode()
    host, port = timed_server.url.removeprefix("http://").split(":")
    seen = []
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        sent_s = time.time()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: a-1\r\nContent-Length: {len(body)}"
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        while data := connection.recv(65536):
            seen += [time.time()] * data.count(b'"text": " the"')
            if b"[DONE]" in data:
                break
    (truth,) = timed_server.truth()
    assert (truth["id"], truth["model"], truth["status"]) == ("a-1", model, 200)
    assert sent_s <= truth["arrived_s"] <= truth["headers_s"]
    assert [tokens for _, tokens in truth["events"]] == [1] * 5
    due = [truth["arrived_s"] + 0.05 + 0.02 * i for i in range(5)]
    assert all(at_s >= due_s for (at_s, _), due_s in zip(truth["events"], due, strict=True))
    assert len(seen) == 5
    assert all(seen_s >= at_s for seen_s, (at_s, _) in zip(seen, truth["events"], strict=True))


def test_answers_in_one_piece(timed_server: Timed) -> None:
    with httpx.Client(base_url=timed_server.url, headers={"X-Timed": "delay=0.02,ttft=0.02,gap=0"}) as client:
        completed = client.post("/v1/completions", json={**BODY, "stream": False}).json()
        assert completed["choices"][0]["text"] == " the" * 4
        assert completed["usage"]["completion_tokens"] == 4
        assert len(client.post("/classify", json={"input": ["a", "b"]}).json()["data"]) == 2
        assert len(client.post("/v1/embeddings", json={"input": "a"}).json()["data"]) == 1
        assert client.post("/translate", json={"q": ["a"]}).json() == {"translatedText": ["a"]}
        assert client.post("/tokenize", json={"prompt": "a b c"}).json()["count"] == 3
        refused = client.post("/classify", json={"input": "a"}, headers={"X-Timed": "status=503,retry_after=2"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    truth = timed_server.truth()
    assert [one["status"] for one in truth] == [200] * 4 + [503]
    assert all(one["end_s"] - one["arrived_s"] >= 0.02 for one in truth[:4])


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_cut_answer_breaks_off(timed_server: Timed, how: str) -> None:
    options = {"X-Timed": f"ttft=0,gap=0,cut=1,how={how}"}
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        httpx.post(f"{timed_server.url}/v1/completions", json=BODY, headers=options, timeout=10)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        httpx.post(f"{timed_server.url}/classify", json={"input": "a"}, headers=options, timeout=10)


def test_who_leaves_is_noticed(timed_server: Timed) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{timed_server.url}/v1/completions", json=BODY, headers={"X-Timed": "hang=0"}, timeout=0.1)
    deadline = time.monotonic() + 10
    while timed_server.truth()[0]["left_s"] is None:
        assert time.monotonic() < deadline


def test_in_serial_one_comes_after_the_other(timed_server: Timed) -> None:
    options = b"X-Timed: serial=1,delay=0.05"
    body = b'{"input": "a"}'
    host, port = timed_server.url.removeprefix("http://").split(":")
    request = b"POST /classify HTTP/1.1\r\nContent-Length: %d\r\n%s\r\n\r\n%s" % (len(body), options, body)
    connections = [socket.create_connection((host, int(port)), timeout=10) for _ in range(3)]
    try:
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            assert b"200" in connection.recv(65536)
    finally:
        for connection in connections:
            connection.close()
    truth = sorted(timed_server.truth(), key=lambda one: float(one["begun_s"]))
    assert all(later["begun_s"] >= earlier["end_s"] for earlier, later in pairwise(truth))
    assert max(one["arrived_s"] for one in truth) < truth[-1]["begun_s"]
