from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from deployments.front_door.app import create_app
from tests.deployments.front_door.fakes import BOS, FakeEngine, make_service
from tests.deployments.front_door.sse import events

MESSAGES = [{"role": "user", "content": "Hi"}]


async def chat(client: httpx.AsyncClient, messages: Any = MESSAGES, **body: Any) -> httpx.Response:
    return await client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages, **body})


def prompt_text(engine: FakeEngine) -> str:
    tokens = engine.requests[-1].prompt
    return "".join("<s>" if token == BOS else chr(token) for token in tokens)


async def test_whole_answer(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    response = await chat(client)
    body = response.json()
    assert body.pop("id").startswith("chatcmpl-")
    assert body.pop("created") > 1_700_000_000
    prompt_tokens = len("user: Hi\nassistant: ") + 1
    assert body == {
        "object": "chat.completion",
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello, world", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": 13,
            "total_tokens": prompt_tokens + 13,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }
    assert prompt_text(engine) == "<s>user: Hi\nassistant: "
    assert response.headers["x-stageline-variant"] == "bf16"


async def test_stream(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    chunks = events(await chat(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
    assert text == engine.text
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 13
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


async def test_stream_of_several_choices_names_each_role_once(client: httpx.AsyncClient) -> None:
    chunks = events(await chat(client, stream=True, n=2))
    roles = [chunk["choices"][0]["index"] for chunk in chunks if "role" in chunk["choices"][0]["delta"]]
    assert sorted(roles) == [0, 1]


async def test_role_comes_with_the_first_token_even_without_text(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.text = "🎉"
    chunks = events(await chat(client, stream=True))
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["", "🎉", ""]


async def test_messages_in_all_forms(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}], "name": "Ann"},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": None, "annotations": []},
        {"role": "user", "content": "Three"},
    ]
    response = await chat(client, messages)
    assert response.status_code == 200
    assert prompt_text(engine) == "<s>system: Be brief.\n<s>user: One\ntwo\n<s>assistant: \n<s>user: Three\nassistant: "


async def test_max_tokens_is_what_is_left_of_the_context(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await chat(client)
    request = engine.requests[-1]
    assert request.sampling.max_tokens == 1024 - len(request.prompt)
    await chat(client, max_tokens=7)
    assert engine.requests[-1].sampling.max_tokens == 7
    await chat(client, max_tokens=7, max_completion_tokens=5)
    assert engine.requests[-1].sampling.max_tokens == 5


async def test_logprobs(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.text = "a€"
    logprobs = (await chat(client, logprobs=True, top_logprobs=2)).json()["choices"][0]["logprobs"]
    assert logprobs["refusal"] is None
    assert logprobs["content"][0] == {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [
            {"token": "a", "logprob": -0.5, "bytes": [97]},
            {"token": "b", "logprob": -1.5, "bytes": [98]},
        ],
    }
    assert [entry["bytes"] for entry in logprobs["content"]] == [[97], [0xE2], [0x82], [0xAC]]
    without = (await chat(client, logprobs=True)).json()["choices"][0]["logprobs"]
    assert [entry["top_logprobs"] for entry in without["content"]] == [[]] * 4
    chunks = events(await chat(client, logprobs=True, top_logprobs=2, stream=True))
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [entry for part in parts if part for entry in part["content"]] == logprobs["content"]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("fields", "kind", "source"),
    [
        ({"response_format": {"type": "json_object"}}, "json_object", ""),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            "json_schema",
            SCHEMA,
        ),
        ({"guided_json": SCHEMA}, "json_schema", SCHEMA),
        ({"structured_outputs": {"json": SCHEMA}}, "json_schema", SCHEMA),
        ({"structured_outputs": {"regex": "a+"}}, "regex", "a+"),
        ({"structured_outputs": {"json_object": True}}, "json_object", ""),
        ({"guided_choice": ["yes", "no (really)"]}, "regex", "(yes|no \\(really\\))"),
    ],
)
async def test_constrained_output(
    client: httpx.AsyncClient, engine: FakeEngine, fields: dict[str, Any], kind: str, source: Any
) -> None:
    assert (await chat(client, **fields)).status_code == 200
    grammar = engine.requests[-1].sampling.grammar
    assert grammar is not None
    assert grammar.kind == kind
    assert (json.loads(grammar.source) if isinstance(source, dict) else grammar.source) == source


async def test_response_format_text_constrains_nothing(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await chat(client, response_format={"type": "text"})
    assert engine.requests[-1].sampling.grammar is None


async def test_template_variables(engine: FakeEngine) -> None:
    service = make_service(engine, chat_template="{{ messages[0].content }}{% if shout %}!{% endif %}")
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await chat(client, chat_template_kwargs={"shout": True})
    assert prompt_text(engine) == "Hi!"


async def test_model_without_template(engine: FakeEngine) -> None:
    transport = httpx.ASGITransport(create_app(make_service(engine, chat_template=None)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await chat(client)
    assert response.status_code == 400
    assert "chat template" in response.json()["error"]["message"]


async def test_template_that_refuses(engine: FakeEngine) -> None:
    service = make_service(engine, chat_template="{{ raise_exception('no system role') }}")
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await chat(client)
    assert response.status_code == 400
    assert "no system role" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("Hi", "messages"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0]"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content"),
        ([{"role": "assistant", "tool_calls": [{"id": "1"}]}], "messages[0]"),
        ([{"role": "user", "content": "x"}] * 5000, "messages"),
        ([{"role": "user", "content": "x" * 2000}], "messages"),
        ([{"role": "user", "content": "x" * 100_000}], "messages"),
    ],
)
async def test_refused_messages(client: httpx.AsyncClient, messages: Any, param: str) -> None:
    response = await chat(client, messages)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 3}, "logprobs"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"guided_regex": "a", "guided_json": {}}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_regex": "a" * 200_000}, "guided_regex"),
        ({"structured_outputs": {"grammar": "root ::= x"}}, "structured_outputs.grammar"),
        ({"chat_template": "x"}, "chat_template"),
    ],
)
async def test_refused_fields(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    response = await chat(client, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True},
        {"modalities": ["text"], "reasoning_effort": "low", "verbosity": "low"},
        {"prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "auto"},
    ],
)
async def test_harmless_fields(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    assert (await chat(client, **fields)).status_code == 200
