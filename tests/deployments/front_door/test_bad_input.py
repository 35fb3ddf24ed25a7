"""Whatever a caller sends, the answer is OpenAI's error object, and the server stays up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params

from deployments.front_door.app import BODIES, create_app
from deployments.front_door.body import parse
from deployments.front_door.schemas.chat import ChatBody
from deployments.front_door.schemas.completions import CompletionBody
from engine.errors import InvalidRequest
from tests.deployments.front_door.encoder_fakes import FakeEncoder, classifier, embedder, service_of
from tests.deployments.front_door.fakes import FakeEngine
from tests.deployments.front_door.translation_fakes import FakeTranslator, translator

PATHS = (
    "/v1/completions",
    "/v1/chat/completions",
    "/tokenize",
    "/detokenize",
    "/classify",
    "/predict",
    "/v1/embeddings",
    "/embed",
    "/translate",
)


def error_of(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["code"], int | str)
    return error


async def post(client: httpx.AsyncClient, content: bytes, path: str = "/v1/completions") -> httpx.Response:
    return await client.post(path, content=content, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"nonsense",
        b"[1, 2]",
        b'"text"',
        b"null",
        b'{"prompt": "a"} {}',
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "\\udc00 a"}',
        b'{"prompt": "a", "temperature": NaN}',
        b'{"prompt": "a", "temperature": Infinity}',
        b'{"prompt": "a", "temperature": -Infinity}',
        b'{"prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}",
        b'{"prompt": ' + b"[" * 100_000,
        b'{"prompt": ' + b'{"a":' * 100_000,
        b'{"prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b"\x00" * 100,
    ],
    ids=lambda content: repr(content[:30]),
)
async def test_bodies_that_are_no_json(client: httpx.AsyncClient, content: bytes) -> None:
    for path in PATHS:
        error = error_of(await post(client, content, path))
        assert error["type"] == "BadRequestError"
        assert error["code"] == 400
        assert len(error["message"]) < 300
    assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("temperature", ["hot", -0.1, 1e300, True, [1]]),
        ("top_p", [0, -1, 1.5, "x"]),
        ("top_k", [-2, 1.5, 10**30, "x"]),
        ("min_p", [-0.1, 1.1]),
        ("repetition_penalty", [0, -1, 1e9]),
        ("presence_penalty", [-2.1, 3]),
        ("frequency_penalty", [-2.1, 3]),
        ("max_tokens", [-1, 0, 1.5, "16", 2**31, 10**30, True]),
        ("min_tokens", [-1, 10**30, 17]),
        ("n", [0, -1, 129, 10**9, 2**40, "2"]),
        ("stream", ["yes", 1]),
        ("seed", [1.5, 2**63, -(2**63) - 1, 10**30, "x"]),
        ("logprobs", [-1, 21, 10**30, 1.5]),
        ("priority", [10**30, 0.5]),
        ("stop_token_ids", [[-1], [258], [10**30], ["a"], 5, [1] * 2000]),
        ("stop", [5, [5], [""], "", ["a"] * 10_000, ["a" * 3000], {"a": 1}]),
        ("logit_bias", [{"a": 1}, {"-1": 1}, {"258": 1}, {"65": 101}, {"65": "x"}, {"9" * 5000: 1}, [1], {"١": 1}]),
        ("echo", ["yes"]),
        ("prompt", ["", [], [[]], 5, {"a": 1}, ["a", 5], [5, "a"], [True], [1.5], [-1], [258], [10**30], [["a"]]]),
        ("prompt", [["a"] * 257, ["a", ""], "x" * 1024, [65] * 1024, "x" * 20_000, "x" * 1_000_000]),
        ("stream_options", [{"include_usage": True}, 5]),
        ("suffix", ["tail"]),
        ("best_of", [3]),
        ("use_beam_search", [True]),
        ("logits_processors", [["x"]]),
        ("truncate_prompt_tokens", [5]),
        ("model", [5, ["tiny"]]),
    ],
)
async def test_values_that_are_refused(client: httpx.AsyncClient, field: str, values: list[Any]) -> None:
    for value in values:
        body = {"prompt": "Hi", "max_tokens": 16} | {field: value}
        error = error_of(await post(client, json.dumps(body).encode()))
        assert error["param"] is not None, value
        assert error["param"].partition("[")[0].partition(".")[0] == field, value
        assert field in error["message"], value


async def test_numbers_beyond_floats(client: httpx.AsyncClient) -> None:
    for number in (b"1e400", b"-1e400"):
        error = error_of(await post(client, b'{"prompt": "Hi", "temperature": ' + number + b"}"))
        assert error["param"] == "temperature"
    schema = b'{"prompt": "Hi", "guided_json": {"maximum": 1e400}}'
    assert error_of(await post(client, schema))["param"] == "guided_json"


async def test_unknown_field_gets_the_nearest_name(client: httpx.AsyncClient) -> None:
    error = error_of(await post(client, b'{"prompt": "Hi", "temprature": 0}'))
    assert error["param"] == "temprature"
    assert "Did you mean 'temperature'?" in error["message"]
    error = error_of(await post(client, json.dumps({"prompt": "Hi", "x" * 100_000: 0}).encode()))
    assert len(error["message"]) < 300


async def test_missing_field(client: httpx.AsyncClient) -> None:
    assert error_of(await post(client, b'{"model": "tiny"}'))["param"] == "prompt"
    assert error_of(await post(client, b"{}", "/v1/chat/completions"))["param"] == "messages"


async def test_form_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/completions", data={"prompt": "Hi"})
    assert "Content-Type" in error_of(response)["message"]


@pytest.mark.parametrize(
    "model", ["other", "tiny:int3", "tiny:", ":bf16", "", "x" * 10_000, "a/../b", "tiny:bf16:bf16"]
)
async def test_unknown_model(client: httpx.AsyncClient, model: str) -> None:
    error = error_of(await post(client, json.dumps({"model": model, "prompt": "Hi"}).encode()), 404)
    assert (error["param"], error["type"], error["code"]) == ("model", "NotFoundError", 404)
    assert "tiny" in error["message"] or "bf16" in error["message"]
    assert len(error["message"]) < 300


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", ""])
async def test_bad_deadline(client: httpx.AsyncClient, text: str) -> None:
    headers = {"x-request-timeout-seconds": text}
    response = await client.post("/v1/completions", json={"prompt": "Hi"}, headers=headers)
    assert error_of(response)["param"] == "x-request-timeout-seconds"


async def test_unknown_path_and_method(client: httpx.AsyncClient) -> None:
    error = error_of(await client.get("/v1/nothing"), 404)
    assert error["type"] == "NotFoundError"
    response = await client.get("/v1/completions")
    assert error_of(response, 405)["code"] == 405
    assert response.headers["allow"] == "POST"


async def test_body_over_the_limit_by_its_length(client: httpx.AsyncClient) -> None:
    response = await post(client, b'{"prompt": "' + b"x" * (9 << 20) + b'"}')
    assert error_of(response, 413)["type"] == "PayloadTooLargeError"
    assert response.headers["connection"] == "close"


async def test_body_over_the_limit_while_it_comes(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1600):
            sent += 1 << 16
            yield b" " * (1 << 16)

    response = await client.post("/v1/completions", content=endless(), headers={"content-type": "application/json"})
    assert error_of(response, 413)["type"] == "PayloadTooLargeError"
    assert response.headers["connection"] == "close"
    assert sent <= (8 << 20) + (2 << 16)


async def test_several_bad_requests_leave_nothing_behind(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await post(client, b'{"prompt": "Hi", "n": 5, "temperature": -1}')
    assert engine.requests == []
    assert (await post(client, b'{"prompt": "Hi"}')).status_code == 200


def test_every_field_of_the_openai_client_is_known() -> None:
    params = completion_create_params.CompletionCreateParamsBase.__annotations__
    chat_params = chat_create_params.CompletionCreateParamsBase.__annotations__
    for kind, names in ((CompletionBody, params), (ChatBody, chat_params)):
        assert set(names) <= {*kind.model_fields, *kind.ignored, *kind.unsupported}


FIELDS = sorted({name for kind in BODIES for name in kind.model_fields})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_any_json_is_parsed_or_refused(fields: dict[str, Any]) -> None:
    for kind in BODIES:
        with contextlib.suppress(InvalidRequest):
            assert isinstance(parse(kind, json.dumps(fields).encode()), kind)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(CompletionBody, raw)


TEXTS = st.one_of(JSON, st.text(max_size=8), st.lists(st.text(max_size=8) | st.lists(st.text(max_size=8), max_size=3)))
REQUESTS = st.tuples(
    st.sampled_from(["/classify", "/predict", "/v1/embeddings", "/embed", "/translate"]),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("input", "inputs", "q"), TEXTS)),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3),
    st.sampled_from([{}, {"source": "en", "target": "de"}, {"source": "auto", "target": "de", "format": "html"}]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS)
def test_any_json_to_the_endpoints_of_texts_is_answered_or_refused(
    sent: tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]],
) -> None:
    path, texts, fields, pair = sent
    models = classifier(FakeEncoder()), embedder(FakeEncoder()), translator(FakeTranslator())

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(service_of(*models)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await post(client, json.dumps(fields | pair | texts).encode(), path)

    response = asyncio.run(ask())
    if response.status_code != 200:
        error_of(response, 404 if response.status_code == 404 else 400)
