"""Many at once: neighbours, a full queue, callers who leave, deadlines."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.deployments.server.running import ROOMY, TIGHT, Server
from tests.deployments.server.sockets import BackgroundStream, post, read_until
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.model]

ENDLESS: dict[str, Any] = {"max_tokens": 900, "ignore_eos": True}


def crowd(server: Server, stack: ExitStack, count: int) -> None:
    """Lets `count` requests of all kinds run until the stack ends, which cuts their connections."""
    for number in range(count):
        body = {"model": ROOMY, "prompt": f"Number {number}. " * (1 + 7 * number), **ENDLESS, "max_tokens": 4000}
        if number % 3 == 1:
            body |= {"temperature": 0, "repetition_penalty": 1.3, "logprobs": 2}
        if number % 3 == 2:
            body |= {"top_k": 20, "seed": number, "n": 1, "frequency_penalty": 0.5}
        stack.enter_context(post(server, stream=number % 2 == 0, **body))
    wait_until(lambda: server.load(ROOMY) == (count, 0), f"{count} requests run")


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 3}])
def test_neighbours_do_not_matter(server: Server, sampling: dict[str, Any]) -> None:
    def choice() -> dict[str, Any]:
        answer = server.complete(prompt="The old man and the", max_tokens=16, logprobs=3, **sampling)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["choices"][0])

    alone = choice()
    with ExitStack() as stack:
        crowd(server, stack, 16)
        beside = choice()
        assert server.load(ROOMY)[0] == 16
    assert beside == alone
    server.wait_idle(ROOMY)


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_leaves_frees_the_engine(server: Server, stream: bool) -> None:
    before = server.replica(ROOMY)["generated_tokens"]
    with post(server, model=ROOMY, prompt="Once", max_tokens=8000, ignore_eos=True, stream=stream) as connection:
        if stream:
            assert read_until(connection, b"data: ").startswith(b"HTTP/1.1 200")
        wait_until(lambda: server.replica(ROOMY)["generated_tokens"] > before, "it generates")
        assert server.replica(ROOMY)["kv_cache_usage"] > 0
    server.wait_idle(ROOMY)
    assert server.replica(ROOMY)["generated_tokens"] - before < 8000


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_leaves_while_waiting_frees_the_place(server: Server, stream: bool) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(post(server, model=TIGHT, prompt="Once", stream=True, **ENDLESS))
        wait_until(lambda: server.load(TIGHT) == (2, 0), "both run")
        with post(server, model=TIGHT, prompt="Twice", stream=stream, **ENDLESS):
            wait_until(lambda: server.load(TIGHT) == (2, 1), "the third waits")
        wait_until(lambda: server.load(TIGHT) == (2, 0), "its place is free")
    server.wait_idle(TIGHT)


def test_a_full_queue_refuses_at_once_and_finishes_the_others(server: Server) -> None:
    admitted = [
        BackgroundStream(server, model=TIGHT, prompt=f"Number {number}", max_tokens=256, ignore_eos=True)
        for number in range(4)
    ]
    wait_until(lambda: server.load(TIGHT) == (2, 2), "two run and two wait")
    for stream in (False, True):
        refused = server.complete(model=TIGHT, max_tokens=1, stream=stream)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "ServiceUnavailableError"
    assert not any(stream.over for stream in admitted)
    assert server.complete(model=ROOMY, max_tokens=1).status_code == 200  # the other model has room
    for stream_of_one in admitted:
        events = stream_of_one.events()
        assert events[-1]["choices"][0]["finish_reason"] == "length"
    server.wait_idle(TIGHT)
    assert server.complete(model=TIGHT, max_tokens=1).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_ends_the_answer_and_frees_the_engine(server: Server, stream: bool) -> None:
    answer = httpx.post(
        f"{server.url}/v1/completions",
        json={"model": ROOMY, "prompt": "Once", "max_tokens": 8000, "ignore_eos": True, "stream": stream},
        headers={"x-request-timeout-seconds": "2"},
        timeout=60,
    )
    if stream:
        assert answer.status_code == 200, answer.text
        lines = [line for line in answer.text.split("\n\n") if line]
        assert lines[-1] == "data: [DONE]"
        assert len(lines) > 2
        error = json.loads(lines[-2].removeprefix("data: "))["error"]
    else:
        assert answer.status_code == 408, answer.text
        error = answer.json()["error"]
    assert error["code"] == 408
    assert error["type"] == "RequestTimeoutError"
    server.wait_idle(ROOMY)


def test_a_deadline_holds_in_the_queue_too(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(post(server, model=TIGHT, prompt="Once", stream=True, **ENDLESS))
        wait_until(lambda: server.load(TIGHT) == (2, 0), "both run")
        late = httpx.post(
            f"{server.url}/v1/completions",
            json={"model": TIGHT, "prompt": "Twice", "stream": True},
            headers={"x-request-timeout-seconds": "0.5"},
            timeout=60,
        )
        assert late.status_code == 408
        assert late.json()["error"]["code"] == 408
        wait_until(lambda: server.load(TIGHT) == (2, 0), "its place is free")
    server.wait_idle(TIGHT)
