"""What is made of the bytes, at times that are given."""

from __future__ import annotations

import json
from collections import deque
from itertools import count

import pytest

from loadtest.agreement.tape import AnsweredReader, AskedReader, Tape, Waiting
from loadtest.record import Record

ASKED = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(content: object) -> bytes:
    data = b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def text(words: str) -> bytes:
    return event({"choices": [{"text": words}]})


USAGE = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
END = event(b"[DONE]") + b"0\r\n\r\n"


def read(asked: list[tuple[float, bytes]], answered: list[tuple[float, bytes]]) -> list[Record]:
    tape, waiting = Tape(), Waiting()
    asks, answers = AskedReader(tape, waiting), AnsweredReader(waiting)
    for at_s, data in asked:
        asks.feed(data, at_s)
    for at_s, data in answered:
        answers.feed(data, at_s)
    return tape.records


def test_times_are_those_of_the_first_byte_of_a_request_and_the_last_of_an_event() -> None:
    """Which may come in several pieces; events without text have no time of their own."""
    first = text("a")
    (record,) = read(
        [(1.0, ASKED[:3]), (2.0, ASKED[3:40]), (3.0, ASKED[40:])],
        [
            (4.0, STREAM + text("")),
            (5.0, first[:9]),
            (6.0, first[9:] + text("b")),
            (8.0, text("c") + USAGE),
            (9.0, END),
        ],
    )
    assert (record.sent_s, record.headers_s, record.first_s, record.last_s, record.end_s) == (1, 4, 6, 8, 9)
    assert record.gaps_s == [0, 2]
    assert (record.failure, record.prompt_tokens, record.output_tokens) == ("", 5, 3)


def test_a_chats_text_is_in_its_delta() -> None:
    role, word = ({"choices": [{"delta": one}]} for one in ({"role": "assistant", "content": ""}, {"content": "a"}))
    (record,) = read(
        [(1.0, ASKED.replace(b"/v1/completions", b"/under/v1/chat/completions?x=1"))],
        [(2.0, STREAM + event(role)), (3.0, event(word) + END)],
    )
    assert (record.kind, record.first_s, record.gaps_s) == ("chat", 3, [])


def test_answers_belong_to_requests_in_their_order() -> None:
    other = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    stream = STREAM + text("a") + END
    records = read([(1.0, ASKED), (2.0, other), (3.0, ASKED)], [(4.0, stream), (5.0, whole), (6.0, stream)])
    assert [(one.sent_s, one.end_s, one.failure) for one in records] == [(1, 4, ""), (3, 6, "")]


def test_continue_is_no_answer() -> None:
    (record,) = read([(1.0, ASKED)], [(2.0, b"HTTP/1.1 100 Continue\r\n\r\n"), (3.0, STREAM + text("a") + END)])
    assert (record.status, record.headers_s, record.failure) == (200, 3, "")


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"", "cut"),
        (b"not HTTP at all\r\n\r\n", "cut"),
        (STREAM + text("a"), "cut"),
        (STREAM + text("a") + b"0\r\n\r\n", "cut"),
        (STREAM + END, "cut"),
        (STREAM + event({"choices": [None]}) + END, "cut"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}", "http"),
    ],
)
def test_what_is_not_complete_has_failed(answer: bytes, failure: str) -> None:
    (record,) = read([(1.0, ASKED)], [(2.0, answer)])
    assert record.failure == failure


def test_an_answer_may_end_with_its_connection() -> None:
    tape = Tape()
    waiting: Waiting = deque([tape.begin("/v1/completions", 1.0)])
    answers, times = AnsweredReader(waiting), count(2.0)
    answers.feed(b"HTTP/1.1 200 OK\r\n\r\n", next(times))
    answers.feed(b'{"usage": {"completion_tokens": 3}}', next(times))
    assert tape.records[0].failure == "cut"
    answers.ended(next(times))
    assert (tape.records[0].failure, tape.records[0].end_s, tape.records[0].output_tokens) == ("", 4, 3)
