"""What happens to calls of encoders: failures, deadlines, callers who leave, many texts, and what is counted."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from deployments.front_door.app import create_app
from engine.encoder.request import Encoded
from engine.errors import DeadlineExceeded, EngineFailed, InvalidRequest, Overloaded
from tests.deployments.front_door.encoder_fakes import FakeEncoder, classifier, client_of, service_of
from tests.deployments.front_door.test_operations import samples_of


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
async def client(encoder: FakeEncoder) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(classifier(encoder)) as client:
        yield client


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Overloaded("The queue is full."), 503),
        (EngineFailed("It died."), 500),
        (DeadlineExceeded("Too late."), 408),
        (InvalidRequest("No."), 400),
        (RuntimeError("secret"), 500),
    ],
)
async def test_failures(client: httpx.AsyncClient, encoder: FakeEncoder, failure: Exception, status: int) -> None:
    encoder.failure = failure
    response = await client.post("/classify", json={"input": ["a", "b"]})
    assert response.status_code == status
    assert "secret" not in response.text
    encoder.failure = None
    encoder.answer = lambda request: Encoded(error=failure)
    assert (await client.post("/classify", json={"input": ["a", "b"]})).status_code == status


@pytest.mark.parametrize("values", [(1.0, math.nan, 2.0), (1.0, math.inf, 2.0), (1.0, 2.0), ()])
async def test_what_no_model_should_compute(
    client: httpx.AsyncClient, encoder: FakeEncoder, values: tuple[float, ...]
) -> None:
    encoder.values = values
    assert (await client.post("/classify", json={"input": "a"})).status_code == 500


async def test_deadline(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    encoder.gate = asyncio.Event().wait  # type: ignore[assignment]
    response = await client.post("/classify", json={"input": "a"}, headers={"x-request-timeout-seconds": "0.05"})
    assert response.status_code == 408
    assert response.json()["error"]["type"] == "RequestTimeoutError"
    assert encoder.cancelled == 1
    request = encoder.requests[0]
    assert request.deadline_s == pytest.approx(request.arrival_s + 0.05)


async def test_a_caller_who_leaves_cancels_the_work(encoder: FakeEncoder) -> None:
    started = asyncio.Event()

    async def gate() -> None:
        started.set()
        await asyncio.Event().wait()

    encoder.gate = gate
    app = create_app(service_of(classifier(encoder)))
    sent: list[Any] = []
    body = [{"type": "http.request", "body": b'{"input": "a"}', "more_body": False}]

    async def receive() -> Any:
        if body:
            return body.pop()
        await started.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"14")]
    scope = {
        "type": "http", "method": "POST", "path": "/classify", "raw_path": b"/classify", "query_string": b"",
        "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("test", 80), "client": ("test", 1),
        "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 5)
    assert encoder.cancelled == 1
    assert sent[0]["status"] == 499


async def test_metrics(encoder: FakeEncoder) -> None:
    async with client_of(classifier(encoder)) as client:
        await client.post("/classify", json={"input": ["a", "b c"]})
        await client.post("/predict", json={"inputs": "a"})
        encoder.failure = Overloaded("The queue is full.")
        await client.post("/classify", json={"input": ["a", "b"]})
        encoder.failure = None
        encoder.gate = asyncio.Event().wait  # type: ignore[assignment]
        await client.post("/classify", json={"input": "a"}, headers={"x-request-timeout-seconds": "0.01"})
        found = samples_of((await client.get("/metrics")).text)
    labels = (("engine", "fp32"), ("model_name", "intents"))
    success = found["vllm:request_success_total"]
    outcomes = {
        reason: success[(labels[0], ("finished_reason", reason), labels[1])] for reason in ("stop", "error", "abort")
    }
    assert outcomes == {"stop": 3, "error": 2, "abort": 1}
    assert found["vllm:prompt_tokens_total"][labels] == 3 + 4 + 3
    assert found["vllm:request_prompt_tokens_count"][labels] == 3
    assert found["vllm:e2e_request_latency_seconds_count"][labels] == 3
    assert found["vllm:request_queue_time_seconds_sum"][labels] == pytest.approx(0.3)
    assert found["vllm:request_inference_time_seconds_sum"][labels] == pytest.approx(0.6)
    rejected = found["vllm:admission_rejections_total"]
    assert rejected[(*labels, ("reason", "overloaded"))] == 1
    assert rejected[(*labels, ("reason", "deadline"))] == 1


async def test_many_texts_at_once(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    texts = [" ".join("abcdefghijklmn"[: 1 + index % 14]) for index in range(2048)]
    encoder.answer = lambda request: Encoded(np.array([len(request.tokens), 0, 0], dtype=np.float32))
    body = (await client.post("/classify", json={"input": texts, "use_activation": False})).json()
    assert [entry["probs"][0] for entry in body["data"]] == [3 + index % 14 for index in range(2048)]
    assert body["usage"]["prompt_tokens"] == sum(3 + index % 14 for index in range(2048))


async def test_many_texts_do_not_fill_the_engines_queue(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    at_work = most = 0

    async def gate() -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.005)
        at_work -= 1

    encoder.gate = gate
    assert (await client.post("/classify", json={"input": ["a"] * 1000})).status_code == 200
    assert (encoder.calls, most) == (8, 2)
    assert len({request.id for request in encoder.requests}) == 1000


async def test_when_a_group_of_texts_fails_the_others_are_aborted(
    client: httpx.AsyncClient, encoder: FakeEncoder
) -> None:
    async def gate() -> None:
        if encoder.calls == 2:
            raise Overloaded("The queue is full.")
        await asyncio.Event().wait()

    encoder.gate = gate
    assert (await client.post("/classify", json={"input": ["a"] * 1000})).status_code == 503
    assert encoder.cancelled == encoder.calls - 1 <= 2
