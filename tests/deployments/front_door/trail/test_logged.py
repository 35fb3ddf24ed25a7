"""What the front door logs of requests, and that it is never what they say."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from deployments.front_door.app import create_app
from deployments.logs import set_up
from deployments.settings import Logs
from engine.errors import EngineFailed
from tests.deployments.front_door.encoder_fakes import FakeEncoder, classifier, embedder, service_of
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.translation_fakes import FakeTranslator, translator

CANARY, ANSWER = "canary-4711", "said-4712"


@pytest.fixture
def logged(log_lines: io.StringIO) -> io.StringIO:
    set_up(Logs(format="json", level="debug"), "front-door")
    return log_lines


async def ask(app: FastAPI, path: str, body: Any, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(path, json=body, headers={"Authorization": f"Bearer {CANARY}", **headers})


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": CANARY}], "max_tokens": 3, **more}


async def test_a_slow_request_has_a_line(logged: io.StringIO, engine: FakeEngine) -> None:
    app = create_app(make_service(engine, slow_s=1e-9))
    await ask(app, "/v1/chat/completions", chat(), **{"X-Request-Id": "r-1"})
    (line,) = [json.loads(text) for text in logged.getvalue().splitlines() if "stageline.slow" in text]
    assert line["request_id"] == "r-1"
    assert line["message"].startswith("tiny:bf16 took ")
    assert set(line["request"]["phases"]) >= {"read", "choose", "answer"}
    assert (line["request"]["variant"], line["request"]["slow"]) == ("bf16", True)


async def test_a_request_that_is_neither_slow_nor_failed_has_none(logged: io.StringIO, engine: FakeEngine) -> None:
    await ask(create_app(make_service(engine, slow_s=1000.0)), "/v1/chat/completions", chat())
    assert not logged.getvalue()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", [EngineFailed("no"), ValueError(CANARY)])
async def test_nothing_of_a_failed_request_is_logged_but_that_it_failed(
    logged: io.StringIO, engine: FakeEngine, error: Exception, stream: bool
) -> None:
    engine.failure, engine.fail_after, engine.text = error, 2, ANSWER
    await ask(create_app(make_service(engine)), "/v1/chat/completions", chat(stream=stream), **{"X-Request-Id": "r-1"})
    lines = [json.loads(text) for text in logged.getvalue().splitlines()]
    assert {line["request_id"] for line in lines} == {"r-1"}
    assert {line["logger"] for line in lines} == {"stageline.front_door", "stageline.slow"}
    assert CANARY not in logged.getvalue()
    assert ANSWER not in logged.getvalue()


async def test_nothing_that_is_sent_is_logged(logged: io.StringIO, engine: FakeEngine) -> None:
    engine.text = ANSWER
    generating = create_app(make_service(engine, slow_s=1e-9))
    for path, body in (
        ("/v1/completions", {"prompt": CANARY, "model": "tiny"}),
        ("/v1/completions", {"prompt": CANARY, "model": CANARY}),
        ("/v1/completions", {"prompt": CANARY, CANARY: 1}),
        ("/v1/completions", {"prompt": CANARY, "response_format": {"type": "json_schema", "json_schema": CANARY}}),
        ("/v1/chat/completions", chat()),
        ("/v1/chat/completions", chat(stream=True)),
        ("/v1/chat/completions", chat(chat_template_kwargs={CANARY: CANARY}, tools=[CANARY])),
        ("/v1/chat/completions", chat(messages=CANARY)),
        ("/tokenize", {"prompt": CANARY}),
        ("/detokenize", {"tokens": [CANARY]}),
        (f"/{CANARY}", {}),
    ):
        await ask(generating, path, body)
    for service, path, body in (
        (service_of(classifier(FakeEncoder())), "/classify", {"input": CANARY}),
        (service_of(classifier(FakeEncoder())), "/predict", {"inputs": [CANARY]}),
        (service_of(embedder(FakeEncoder())), "/v1/embeddings", {"input": [CANARY, 1]}),
        (service_of(embedder(FakeEncoder())), "/embed", {"inputs": CANARY}),
        (service_of(translator(FakeTranslator())), "/translate", {"q": CANARY, "source": "en", "target": "de"}),
        (service_of(translator(FakeTranslator())), "/translate", {"q": CANARY, "source": CANARY, "target": "de"}),
    ):
        await ask(create_app(service), path, body)
    assert "stageline.slow" in logged.getvalue()
    assert CANARY not in logged.getvalue()
    assert ANSWER not in logged.getvalue()


async def test_texts_are_logged_where_that_is_asked_for(logged: io.StringIO, engine: FakeEngine) -> None:
    engine.text = ANSWER
    app = create_app(make_service(engine, log_texts=True, slow_s=1000.0))
    await ask(app, "/v1/chat/completions", chat(max_tokens=20), Authorization="Bearer key-4713")
    asked, answered = [json.loads(text)["message"] for text in logged.getvalue().splitlines()]
    assert asked.startswith("asked /v1/chat/completions: {")
    assert CANARY in asked
    assert ANSWER in answered
    assert "key-4713" not in logged.getvalue()
