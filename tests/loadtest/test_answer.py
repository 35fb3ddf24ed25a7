from __future__ import annotations

import socket

import pytest

from tests.loadtest.answering import answering, saying, send


def test_what_is_not_http_is_said() -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"SSH-2.0\r\n")

    with answering(answer) as url:
        record = send(url, "m")
    assert record.failure == "answer"
    assert "not HTTP" in record.message


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"choices": [null]}', "application/json"),
        (b'{"choices": [{"text": "a"}], "usage": ["b"]}', "application/json"),
        (b'{"choices": {"text": "a"}}', "application/json"),
        (b'data: {"choices": [null]}\n\ndata: [DONE]\n\n', "text/event-stream"),
        (b'data: {"usage": {"completion_tokens": "many"}}\n\ndata: [DONE]\n\n', "text/event-stream"),
        (b"data: " + b"[" * 100_000 + b"\n\ndata: [DONE]\n\n", "text/event-stream"),
    ],
)
def test_whatever_a_server_says_is_in_the_record(body: bytes, kind: str) -> None:
    with answering(saying(body, kind)) as url:
        record = send(url, "m", stream="stream" in kind)
    assert record.failure == "answer"
    assert record.message
    assert record.end_s is not None


def test_an_error_that_is_none() -> None:
    body = b'data: {"error": null, "choices": [{"text": "a"}]}\n\ndata: [DONE]\n\n'
    with answering(saying(body, "text/event-stream")) as url:
        record = send(url, "m")
    assert (record.failure, record.text) == ("", "a")


def test_half_a_character_is_replaced() -> None:
    """JSON can have one, files and messages between processes cannot."""
    body = b'data: {"choices": [{"text": "a\\ud800"}]}\n\ndata: [DONE]\n\n'
    with answering(saying(body, "text/event-stream")) as url:
        record = send(url, "m")
    assert (record.failure, record.text) == ("", "a?")


def test_a_refusal_by_something_in_between_is_known_by_its_status() -> None:
    """A proxy says it in HTML, and without a length."""
    with answering(saying(b"<html>busy", "text/html", "503 Busy")) as url:
        record = send(url, "m")
    assert (record.failure, record.message) == ("503", "503: <html>busy")


def test_too_few_answers_are_no_answer() -> None:
    with answering(saying(b'{"data": [{"label": "a"}]}')) as url:
        record = send(url, "m", kind="classify", batch=2)
    assert record.failure == "answer"
    assert "2 texts asked, 1 answered" in record.message
