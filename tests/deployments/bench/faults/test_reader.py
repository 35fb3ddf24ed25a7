"""What is read of a stream, and where it stood still."""

from __future__ import annotations

import json
from typing import Any

import httpx

from deployments.bench.faults.gaps import Gap, gaps, longest, median_of_longest
from deployments.bench.faults.injuries import Injury
from deployments.bench.faults.reader import Choice, Told, read
from deployments.bench.faults.run import WINDOW_S, windows

URL = "http://server"


def chunk(index: int = 0, text: str = "", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "text": text, "finish_reason": None, "logprobs": None, **more}]}


def answering(*lines: str, status: int = 200) -> httpx.AsyncClient:
    body = "".join(f"{line}\n\n" for line in lines)
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, text=body)))


def events(*objects: dict[str, Any]) -> list[str]:
    return [f"data: {json.dumps(one)}" for one in objects]


async def test_a_whole_stream() -> None:
    logprobs = {
        "tokens": ["a", "b"],
        "token_logprobs": [-0.5, None],
        "text_offset": [0, 1],
        "top_logprobs": [{"a": -0.5}, None],
    }
    lines = events(
        chunk(text="ab", logprobs=logprobs),
        chunk(1, "x"),
        chunk(text="c", finish_reason="length"),
        {"choices": [], "usage": {"completion_tokens": 4, "prompt_tokens": 2, "total_tokens": 6}},
    )
    told = await read(answering(*lines, "data: [DONE]"), URL, {})
    assert (told.error, told.done, told.tokens) == ("", True, 4)
    assert (told.choices[0].text, told.choices[0].finish_reason, told.choices[1].text) == ("abc", "length", "x")
    assert told.choices[0].logprobs == [("a", -0.5, 0, {"a": -0.5}), ("b", None, 1, None)]
    again = await read(answering(*lines, "data: [DONE]"), URL, {})
    assert again.content == told.content
    other = await read(answering(*lines[:1], *lines[2:], "data: [DONE]"), URL, {})
    assert other.content != told.content


async def test_what_goes_wrong_is_said() -> None:
    assert "end mark" in (await read(answering(*events(chunk(text="a"))), URL, {})).error
    assert "busy" in (await read(answering("busy", status=503), URL, {})).error
    assert "died" in (await read(answering(*events({"error": {"message": "died"}}), "data: [DONE]"), URL, {})).error


def told(*answers: list[float]) -> Told:
    ended_s = max(times[-1] for times in answers) + 0.25
    return Told(0.0, {i: Choice(arrivals=times) for i, times in enumerate(answers)}, ended_s=ended_s)


def test_gaps() -> None:
    one, two = told([1.0, 1.5, 4.0, 4.25]), told([1.0, 2.0])
    assert gaps(one)[1] == Gap(1.5, 4.0)
    assert longest([one, two]) == 2.5
    assert longest([one, two], 4.1, 9.0) == 0.25
    assert longest([one, two], 3.9, 4.1) == 2.5  # in part is enough
    assert longest([]) == 0.0
    assert median_of_longest([one, two, told([7.0, 7.5])], 0.0, 3.0) == 2.5


def test_an_answer_that_goes_on_does_not_hide_another_that_stands_still() -> None:
    assert longest([told([1.0, 9.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])]) == 8.0


def test_a_pause_belongs_to_one_injury() -> None:
    first, second = Injury("stage killed", "a", 10.0, recovered_s=11.0), Injury("link cut", "b", 12.0)
    assert [(one.kind, end) for one, end in windows([first, second])] == [
        ("stage killed", 12.0),
        ("link cut", 12.0 + WINDOW_S),
    ]
