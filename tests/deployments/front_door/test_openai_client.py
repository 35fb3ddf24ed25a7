"""The official client, unchanged, against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from engine.errors import EngineFailed, Overloaded
from tests.deployments.front_door.fakes import FakeEngine


@pytest.fixture
def api(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as api:
        yield api


def test_models(api: openai.OpenAI) -> None:
    assert [model.id for model in api.models.list()] == ["tiny", "tiny:bf16", "tiny:fp32"]
    assert api.models.retrieve("tiny").owned_by == "stageline"


def test_chat(api: openai.OpenAI, engine: FakeEngine) -> None:
    answer = api.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}], temperature=0)
    assert answer.choices[0].message.content == "Hello, world"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 13
    assert answer.usage.prompt_tokens_details is not None
    assert engine.requests[0].sampling.temperature == 0.0


def test_chat_stream(api: openai.OpenAI) -> None:
    stream = api.chat.completions.create(
        model="tiny",
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "Hello, world"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 13


def test_chat_logprobs(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Hi"}], logprobs=True, top_logprobs=3
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(entry.token for entry in logprobs.content) == "Hello, world"
    assert len(logprobs.content[0].top_logprobs) == 3


def test_chat_response_format_and_extra_body(api: openai.OpenAI, engine: FakeEngine) -> None:
    api.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "Hi"}],
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        extra_body={"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.2, "ignore_eos": True, "priority": 5},
        user="me",
        seed=5,
    )
    request = engine.requests[0]
    assert request.sampling.grammar is not None
    assert request.sampling.grammar.kind == "json_schema"
    assert (request.sampling.top_k, request.sampling.seed, request.priority) == (3, 5, 5)


def test_completion(api: openai.OpenAI) -> None:
    answer = api.completions.create(model="tiny", prompt=["A", "B"], n=2, max_tokens=3, logprobs=1, echo=True)
    assert [choice.text for choice in answer.choices] == ["AHel", "AHel", "BHel", "BHel"]
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.text_offset == [0, 1, 2, 3]


def test_completion_stream(api: openai.OpenAI) -> None:
    stream = api.completions.create(model="tiny:fp32", prompt="A", stream=True, stop=["wor"])
    assert "".join(chunk.choices[0].text for chunk in stream) == "Hello, "


def test_errors_are_the_clients_exceptions(api: openai.OpenAI, engine: FakeEngine) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        api.completions.create(model="none", prompt="A")
    assert missing.value.param == "model"
    with pytest.raises(openai.BadRequestError) as bad:
        api.completions.create(model="tiny", prompt="A", temperature=-1)
    assert bad.value.param == "temperature"
    assert bad.value.request_id
    with pytest.raises(openai.BadRequestError) as long:
        api.completions.create(model="tiny", prompt="A" * 5000)
    assert long.value.code == "context_length_exceeded"
    engine.failure = Overloaded("The queue is full.")
    with pytest.raises(openai.InternalServerError) as busy:
        api.completions.create(model="tiny", prompt="A")
    assert busy.value.status_code == 503
    assert busy.value.response.headers["retry-after"] == "1"


def test_failure_in_mid_stream_is_raised(api: openai.OpenAI, engine: FakeEngine) -> None:
    engine.failure, engine.fail_after = EngineFailed("A replica died."), 2
    texts: list[str] = []

    def read() -> None:
        stream = api.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}], stream=True)
        texts.extend(chunk.choices[0].delta.content or "" for chunk in stream)

    with pytest.raises(openai.APIError, match=r"A replica died\."):
        read()
