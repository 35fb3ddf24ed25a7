from __future__ import annotations

import pickle
from typing import Any

import httpx
import pytest

from engine.request import Delta, FinishReason, GrammarSpec, Request
from tests.deployments.front_door.fakes import EOS, FakeEngine
from tests.deployments.front_door.sse import events


async def complete(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/v1/completions", json={"model": "tiny", "prompt": "Hi", "max_tokens": 64, **body})


async def test_whole_answer(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.cached_tokens = 1
    response = await complete(client)
    assert response.status_code == 200
    body = response.json()
    assert body.pop("id").startswith("cmpl-")
    assert body.pop("created") > 1_700_000_000
    assert body == {
        "object": "text_completion",
        "model": "tiny",
        "choices": [{"index": 0, "text": "Hello, world", "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 2,
            "completion_tokens": 13,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    }
    assert response.headers["x-stageline-variant"] == "bf16"


async def test_defaults_of_openai(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.text = "x" * 100
    body = (await client.post("/v1/completions", json={"prompt": "Hi"})).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 16
    params = engine.requests[0].sampling
    assert (params.temperature, params.top_p, params.top_k, params.logprobs, params.grammar) == (
        1.0,
        1.0,
        0,
        None,
        None,
    )


@pytest.mark.parametrize("bundle", [1, 3, 8, 100])
async def test_stream_says_what_the_whole_answer_says(
    client: httpx.AsyncClient, engine: FakeEngine, bundle: int
) -> None:
    engine.text, engine.bundle = 'Grüße "quoted" \\ 🎉 end\n', bundle
    chunks = events(await complete(client, stream=True))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == engine.text
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "stop"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-1])
    assert all("usage" not in chunk for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all("\ufffd" not in chunk["choices"][0]["text"] for chunk in chunks)


async def test_stream_usage(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.cached_tokens = 2
    chunks = events(await complete(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 13,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


async def test_continuous_usage(client: httpx.AsyncClient) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(await complete(client, stream=True, stream_options=options))
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts[0] == 1
    assert counts == sorted(counts)
    assert counts[-2:] == [13, 13]


async def test_usage_counts_tokens_without_text(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.text = "🎉🎉"  # eight tokens, two pieces of text
    chunks = events(await complete(client, stream=True, stream_options={"include_usage": True}))
    assert [chunk["choices"][0]["text"] for chunk in chunks[:-1]] == ["🎉", "🎉", ""]
    assert chunks[-1]["usage"]["completion_tokens"] == 9


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Hi", [(72, 105)]),
        (["Hi", "Yo"], [(72, 105), (89, 111)]),
        ([72, 105], [(72, 105)]),
        ([[72], [105, 33]], [(72,), (105, 33)]),
    ],
)
async def test_forms_of_prompt(
    client: httpx.AsyncClient, engine: FakeEngine, prompt: Any, expected: list[tuple[int, ...]]
) -> None:
    body = (await complete(client, prompt=prompt)).json()
    assert [request.prompt for request in engine.requests] == expected
    assert [choice["index"] for choice in body["choices"]] == list(range(len(expected)))
    assert body["usage"]["prompt_tokens"] == sum(len(tokens) for tokens in expected)


async def test_n_answers_have_seeds_of_their_own(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    first = (await complete(client, prompt=["A", "B"], n=3, seed=7)).json()
    seeds = [request.sampling.seed for request in engine.requests]
    assert seeds[0] == seeds[3] == 7
    assert len(set(seeds)) == 3
    assert len({request.id for request in engine.requests}) == 6
    assert [choice["index"] for choice in first["choices"]] == [0, 1, 2, 3, 4, 5]
    assert first["usage"]["prompt_tokens"] == 2
    assert first["usage"]["completion_tokens"] == 6 * 13
    engine.requests.clear()
    await complete(client, prompt=["A", "B"], n=3, seed=7)
    assert [request.sampling.seed for request in engine.requests] == seeds


async def test_seeds_are_drawn_here(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await complete(client, prompt=["A", "A"])
    await complete(client)
    seeds = [request.sampling.seed for request in engine.requests]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**63 for seed in seeds)
    await complete(client, seed=-1)
    assert engine.requests[-1].sampling.seed == 2**63 - 1


async def test_stream_of_several_choices(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    chunks = events(await complete(client, stream=True, n=3, stream_options={"include_usage": True}))
    for index in range(3):
        mine = [c["choices"][0] for c in chunks if c["choices"] and c["choices"][0]["index"] == index]
        assert "".join(choice["text"] for choice in mine) == "Hello, world"
        assert [choice["finish_reason"] for choice in mine if choice["finish_reason"]] == ["stop"]
    assert chunks[-1]["usage"]["completion_tokens"] == 39


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("bundle", [1, 4, 100])
async def test_stop_string(client: httpx.AsyncClient, engine: FakeEngine, stream: bool, bundle: int) -> None:
    engine.text, engine.bundle = "Hello, world", bundle
    options = {"stream_options": {"include_usage": True}} if stream else {}
    response = await complete(client, stop=[", wo", "zzz"], stream=stream, **options)
    if stream:
        chunks = events(response)
        texts = [chunk["choices"][0]["text"] for chunk in chunks[:-1]]
        reason, usage = chunks[-2]["choices"][0]["finish_reason"], chunks[-1]["usage"]
    else:
        body = response.json()
        texts, reason, usage = [body["choices"][0]["text"]], body["choices"][0]["finish_reason"], body["usage"]
    assert "".join(texts) == "Hello"
    assert reason == "stop"
    assert usage["completion_tokens"] == len("Hello, wo")
    assert not engine.open
    if bundle == 1:
        assert engine.aborted == [engine.requests[0].id]
        assert engine.sent == len("Hello, wo")


async def test_stop_string_included(client: httpx.AsyncClient) -> None:
    body = (await complete(client, stop=",", include_stop_str_in_output=True)).json()
    assert body["choices"][0]["text"] == "Hello,"


async def test_stop_string_begins_after_min_tokens(client: httpx.AsyncClient) -> None:
    body = (await complete(client, stop="o", min_tokens=6)).json()
    assert body["choices"][0]["text"] == "Hello, w"


async def test_unfinished_stop_string_is_given_at_the_end(client: httpx.AsyncClient) -> None:
    body = (await complete(client, stop="world!")).json()
    assert body["choices"][0]["text"] == "Hello, world"


async def test_stop_token_is_no_text(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.script = lambda _: [Delta(tokens=(65, 66), finish_reason=FinishReason.STOP)]
    body = (await complete(client, stop_token_ids=[66])).json()
    assert body["choices"][0]["text"] == "A"
    assert body["usage"]["completion_tokens"] == 2
    assert engine.requests[0].sampling.stop_token_ids == (66,)
    body = (await complete(client, stop_token_ids=[66], include_stop_str_in_output=True)).json()
    assert body["choices"][0]["text"] == "AB"


async def test_special_tokens_shown_on_demand(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.script = lambda _: [Delta(tokens=(65, EOS, 66), finish_reason=FinishReason.LENGTH)]
    assert (await complete(client)).json()["choices"][0]["text"] == "AB"
    assert (await complete(client, skip_special_tokens=False)).json()["choices"][0]["text"] == "A</s>B"


async def test_logprobs(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.text = "ab€"
    body = (await complete(client, logprobs=2)).json()
    logprobs = body["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["a", "b", "bytes:\\xe2", "bytes:\\x82", "bytes:\\xac"]
    assert logprobs["text_offset"] == [0, 1, 2, 2, 2]
    assert logprobs["token_logprobs"] == [-0.5] * 5
    assert logprobs["top_logprobs"][0] == {"a": -0.5, "b": -1.5}
    assert body["choices"][0]["text"] == "ab€"


async def test_logprobs_zero_has_the_chosen_token(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.text = "a"
    logprobs = (await complete(client, logprobs=0)).json()["choices"][0]["logprobs"]
    assert logprobs["top_logprobs"] == [{"a": -0.5}]


async def test_streamed_logprobs_are_the_same(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.text = "ab€, and"
    whole = (await complete(client, logprobs=1, stop=" an")).json()["choices"][0]
    chunks = events(await complete(client, logprobs=1, stop=" an", stream=True))
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    for key in ("tokens", "text_offset", "token_logprobs", "top_logprobs"):
        assert [item for part in parts for item in part[key]] == whole["logprobs"][key]
    assert whole["logprobs"]["tokens"][-1] == ","  # nothing of the stop string, nor of what began it


async def test_echo(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = (await complete(client, prompt="Say: ", echo=True)).json()
    assert body["choices"][0]["text"] == "Say: Hello, world"
    chunks = events(await complete(client, prompt="Say: ", echo=True, stream=True))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Say: Hello, world"
    assert (await complete(client, prompt=[72, 105], echo=True)).json()["choices"][0]["text"] == "HiHello, world"


async def test_echo_stop_string_ignores_the_prompt(client: httpx.AsyncClient) -> None:
    body = (await complete(client, prompt="a, b", echo=True, stop=",")).json()
    assert body["choices"][0]["text"] == "a, bHello"


async def test_echo_with_logprobs(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.text = "yz"
    logprobs = (await complete(client, prompt="€b", echo=True, logprobs=1)).json()["choices"][0]["logprobs"]
    assert engine.requests[0].sampling.prompt_logprobs == 1
    assert logprobs["tokens"][3:] == ["b", "y", "z"]
    assert logprobs["text_offset"] == [0, 0, 0, 1, 2, 3]
    assert logprobs["token_logprobs"] == [None, -0.5, -0.5, -0.5, -0.5, -0.5]
    assert logprobs["top_logprobs"][0] is None


async def test_echo_alone_needs_no_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = (await complete(client, echo=True, max_tokens=0)).json()
    assert body["choices"][0] == {"index": 0, "text": "Hi", "logprobs": None, "finish_reason": "length"}
    assert body["usage"]["completion_tokens"] == 0
    assert engine.requests == []


async def test_scoring_a_prompt(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = (await complete(client, echo=True, max_tokens=0, logprobs=1)).json()
    assert body["choices"][0]["text"] == "Hi"
    assert body["choices"][0]["logprobs"]["token_logprobs"] == [None, -0.5]
    assert body["usage"]["completion_tokens"] == 0
    assert engine.requests[0].sampling.max_tokens == 0
    assert not engine.open


async def test_max_tokens_is_cut_to_the_context(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await complete(client, max_tokens=100_000)
    assert engine.requests[0].sampling.max_tokens == 1024 - 2


async def test_sampling_reaches_the_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await complete(
        client,
        temperature=0.3,
        top_p=0.9,
        top_k=5,
        min_p=0.1,
        repetition_penalty=1.1,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"65": -100, "66": 3},
        min_tokens=2,
        ignore_eos=True,
        priority=-3,
        guided_regex="[a-z]+",
    )
    request = engine.requests[0]
    params = request.sampling
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.3, 0.9, 5, 0.1)
    assert (params.repetition_penalty, params.presence_penalty, params.frequency_penalty) == (1.1, 0.5, -0.5)
    assert params.logit_bias == {65: -100.0, 66: 3.0}
    assert (params.min_tokens, params.ignore_eos, request.priority) == (2, True, -3)
    assert params.grammar == GrammarSpec("regex", "[a-z]+")


@pytest.mark.parametrize(
    ("asked", "sent"),
    [({"temperature": 1e-9}, ("temperature", 0.0)), ({"top_k": -1}, ("top_k", 0)), ({"top_k": 10**6}, ("top_k", 0))],
)
async def test_values_that_mean_off(
    client: httpx.AsyncClient, engine: FakeEngine, asked: dict[str, Any], sent: tuple[str, Any]
) -> None:
    await complete(client, **asked)
    assert getattr(engine.requests[0].sampling, sent[0]) == sent[1]


@pytest.mark.parametrize(
    "extra",
    [
        {"user": "me"},
        {"metadata": {"a": "b"}},
        {"store": True},
        {"best_of": 1},
        {"suffix": None},
        {"temperature": None, "stop": None, "n": None},
        {"use_beam_search": False},
        {"service_tier": "auto"},
    ],
)
async def test_harmless_fields(client: httpx.AsyncClient, extra: dict[str, Any]) -> None:
    assert (await complete(client, **extra)).status_code == 200


async def test_variant_is_pinned_by_name(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    response = await complete(client, model="tiny:fp32")
    assert engine.variants == ["fp32"]
    assert response.headers["x-stageline-variant"] == "fp32"
    assert response.json()["model"] == "tiny:fp32"


async def test_large_prompt_is_tokenized_like_a_small_one(client: httpx.AsyncClient) -> None:
    response = await complete(client, prompt="x" * 9000)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_engine_request_is_picklable(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await complete(client, logit_bias={"65": 1})
    copy: Request = pickle.loads(pickle.dumps(engine.requests[0]))
    assert copy == engine.requests[0]
