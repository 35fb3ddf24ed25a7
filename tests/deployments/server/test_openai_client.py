"""The official client, unchanged, against the demo model."""

from __future__ import annotations

import json

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.deployments.server.running import CHOICE, ROOMY, TEXTS, TIGHT

pytestmark = [pytest.mark.ray, pytest.mark.model]

STORY = "Once upon a time"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]


def test_models(api: openai.OpenAI) -> None:
    variants = [f"{ROOMY}:bf16", f"{TIGHT}:bf16", f"{CHOICE}:fp32", f"{CHOICE}:bf16"]
    variants += [f"{name}:fp32" for name in TEXTS]
    assert [model.id for model in api.models.list()] == [ROOMY, TIGHT, CHOICE, *TEXTS, *variants]
    assert api.models.retrieve(ROOMY).owned_by == "stageline"


def test_the_model_answers_sensibly(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(model=ROOMY, messages=HELLO, temperature=0, max_completion_tokens=24)
    assert answer.choices[0].message.content is not None
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 24


def test_a_chat_stream_gives_what_the_whole_answer_has(api: openai.OpenAI) -> None:
    whole = api.chat.completions.create(model=ROOMY, messages=HELLO, temperature=0, max_completion_tokens=12)
    stream = api.chat.completions.create(
        model=f"{ROOMY}:bf16", messages=HELLO, temperature=0, max_completion_tokens=12, stream=True
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_completion_stream_with_its_usage(api: openai.OpenAI) -> None:
    stream = api.completions.create(
        model=ROOMY,
        prompt=STORY,
        max_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (4, 8)
    assert len([chunk for chunk in chunks[:-1] if chunk.choices[0].text]) > 1
    assert chunks[-2].choices[0].finish_reason == "length"


def test_a_seed_fixes_each_of_several_answers(api: openai.OpenAI) -> None:
    def texts() -> list[str]:
        answer = api.completions.create(model=ROOMY, prompt=STORY, n=2, seed=7, max_tokens=12)
        return [choice.text for choice in answer.choices]

    first = texts()
    assert first[0] != first[1]
    assert texts() == first


def test_greedy_twice_is_the_same(api: openai.OpenAI) -> None:
    one, other = (
        api.completions.create(model=ROOMY, prompt=STORY, temperature=0, max_tokens=12).choices[0].text
        for _ in range(2)
    )
    assert one == other


def test_logprobs(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(
        model=ROOMY, messages=HELLO, temperature=0, max_completion_tokens=5, logprobs=True, top_logprobs=3
    )
    assert answer.choices[0].logprobs is not None
    entries = answer.choices[0].logprobs.content
    assert entries is not None
    assert "".join(entry.token for entry in entries) == answer.choices[0].message.content
    for entry in entries:
        assert entry.logprob <= 0
        assert len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob == entry.logprob  # greedy: the most likely one was taken
        assert [top.logprob for top in entry.top_logprobs] == sorted(
            (top.logprob for top in entry.top_logprobs), reverse=True
        )


def test_output_follows_a_schema(api: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"enum": ["Paris", "Berlin"]},
            "people": {"type": "integer", "minimum": 0, "maximum": 99},
            "old": {"type": "boolean"},
        },
        "required": ["city", "people", "old"],
        "additionalProperties": False,
    }
    answer = api.chat.completions.create(
        model=ROOMY,
        messages=HELLO,
        seed=1,
        temperature=1.5,
        max_completion_tokens=100,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
    )
    assert answer.choices[0].finish_reason == "stop"
    found = json.loads(answer.choices[0].message.content or "")
    assert found.keys() == {"city", "people", "old"}
    assert found["city"] in ("Paris", "Berlin")
    assert type(found["people"]) is int
    assert 0 <= found["people"] <= 99
    assert type(found["old"]) is bool


def test_stop_strings_end_the_answer_before_them(api: openai.OpenAI) -> None:
    whole = api.completions.create(model=ROOMY, prompt=STORY, temperature=0, max_tokens=20).choices[0].text
    stop = whole[12:16]
    answer = api.completions.create(model=ROOMY, prompt=STORY, temperature=0, max_tokens=20, stop=[stop, "%%"])
    assert answer.choices[0].text == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_errors_are_the_clients_exceptions(api: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=rf"{ROOMY}, {TIGHT}") as missing:
        api.completions.create(model="gpt-9", prompt="A")
    assert missing.value.param == "model"
    with pytest.raises(openai.NotFoundError, match="no variant 'int4'"):
        api.completions.create(model=f"{ROOMY}:int4", prompt="A")
    with pytest.raises(openai.BadRequestError) as bad:
        api.completions.create(model=ROOMY, prompt="A", temperature=-1)
    assert bad.value.param == "temperature"
    assert bad.value.request_id
