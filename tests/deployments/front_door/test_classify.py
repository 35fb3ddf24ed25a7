"""`/classify` and `/predict`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.front_door.encoder_inputs import Reading, read_inputs
from deployments.front_door.schemas.inputs import Pair
from deployments.front_door.scores import activated
from deployments.front_door.service import Limits
from engine.encoder.request import Encoded
from tests.deployments.front_door.encoder_fakes import (
    CLS,
    LABELS,
    SEP,
    FakeEncoder,
    classifier,
    client_of,
    embedder,
    ids,
    letter_tokenizer,
)


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
async def client(encoder: FakeEncoder) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(classifier(encoder)) as client:
        yield client


def softmax(*scores: float) -> list[float]:
    exponents = [math.exp(score) for score in scores]
    return [exponent / sum(exponents) for exponent in exponents]


async def test_classify(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    response = await client.post("/classify", json={"model": "intents", "input": "a b", "priority": -3})
    assert response.status_code == 200
    assert response.headers["x-stageline-variant"] == "fp32"
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.pop("id").startswith("classify-")
    assert abs(body.pop("created") - encoder.requests[0].arrival_s) <= 1
    probs = body["data"][0].pop("probs")
    assert probs == pytest.approx(softmax(1, 3, 2))
    assert body == {
        "object": "list",
        "model": "intents",
        "data": [{"index": 0, "label": "one", "num_classes": 3}],
        "usage": {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": 0},
    }
    request = encoder.requests[0]
    assert request.tokens == (CLS, *ids("ab"), SEP)
    assert (request.types, request.priority, request.deadline_s) == ((), -3, None)


async def test_classify_several_in_one_call(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    encoder.answer = lambda request: Encoded(np.array([len(request.tokens), 3.5, 0], dtype=np.float32))
    body = (await client.post("/classify", json={"input": ["a", "b c d", "e"]})).json()
    assert [entry["label"] for entry in body["data"]] == ["one", "zero", "one"]
    assert [entry["index"] for entry in body["data"]] == [0, 1, 2]
    assert body["usage"]["prompt_tokens"] == 3 + 5 + 3
    assert encoder.calls == 1
    assert len({request.id for request in encoder.requests}) == 3


@pytest.mark.parametrize(
    ("sent", "tokens"),
    [
        ([5, 6], [[5, 6]]),
        ([[5, 6], [7]], [[5, 6], [7]]),
        (["a", [5]], [[CLS, 3, SEP], [5]]),
        ("zz", [[CLS, 2, SEP]]),
        ("a\x00 b", [[CLS, 2, 4, SEP]]),
    ],
)
async def test_forms_of_input(client: httpx.AsyncClient, encoder: FakeEncoder, sent: Any, tokens: Any) -> None:
    assert (await client.post("/classify", json={"input": sent})).status_code == 200
    assert encoder.asked() == tokens


async def test_add_special_tokens_off(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    await client.post("/classify", json={"input": "a b", "add_special_tokens": False})
    assert encoder.asked() == [ids("ab")]


@pytest.mark.parametrize("name", ["use_activation", "activation", "softmax"])
async def test_raw_scores(client: httpx.AsyncClient, name: str) -> None:
    body = (await client.post("/classify", json={"input": "a", name: False})).json()
    assert body["data"][0]["probs"] == [1.0, 3.0, 2.0]
    body = (await client.post("/classify", json={"input": "a", name: True})).json()
    assert sum(body["data"][0]["probs"]) == pytest.approx(1)


async def test_kinds_of_problems(encoder: FakeEncoder) -> None:
    encoder.values = (-1.0, 800.0, -800.0)
    async with client_of(classifier(encoder, problem="multi")) as client:
        body = (await client.post("/classify", json={"input": "a"})).json()
    assert body["data"][0]["probs"] == pytest.approx([1 / (1 + math.e), 1.0, 0.0])
    async with client_of(classifier(encoder, problem="regression")) as client:
        assert (await client.post("/predict", json={"inputs": "a"})).json()[0] == {"score": 800.0, "label": "one"}
    encoder.values = (0.0,)
    async with client_of(classifier(encoder, labels=("yes",))) as client:
        assert (await client.post("/predict", json={"inputs": "a"})).json() == [{"score": 0.5, "label": "yes"}]


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=20))
def test_probabilities_are_probabilities(scores: list[float]) -> None:
    raw = np.array(scores, dtype=np.float32)
    model = classifier(FakeEncoder())
    probs = activated(model, raw)
    assert probs.sum() == pytest.approx(1)
    assert (probs >= 0).all()
    assert probs[int(raw.argmax())] == probs.max()


async def test_predict(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    zero, one, two = softmax(1, 3, 2)
    expected = [("one", one), ("two", two), ("zero", zero)]
    for sent in ("a b", ["a b"]):
        response = await client.post("/predict", json={"inputs": sent})
        assert response.headers["x-stageline-variant"] == "fp32"
        found = [(entry["label"], entry["score"]) for entry in response.json()]
        assert [label for label, _ in found] == [label for label, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected])
    raw = (await client.post("/predict", json={"inputs": "a", "raw_scores": True})).json()
    assert raw[0] == {"score": 3.0, "label": "one"}


async def test_predict_pairs_and_batches(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    single = (await client.post("/predict", json={"inputs": ["a b", "c"]})).json()
    assert isinstance(single[0], dict)
    batch = (await client.post("/predict", json={"inputs": [["a"], ["b", "c d"]]})).json()
    assert [len(ranked) for ranked in batch] == [3, 3]
    assert encoder.asked() == [
        [CLS, 3, 4, SEP, 5, SEP],
        [CLS, 3, SEP],
        [CLS, 4, SEP, 5, 6, SEP],
    ]
    assert [request.types for request in encoder.requests] == [(0, 0, 0, 0, 1, 1), (), (0, 0, 0, 1, 1, 1)]
    assert (await client.post("/predict", json={"inputs": [["a"]]})).json() == [single]


async def test_equal_scores_keep_the_labels_order(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    encoder.values = (1.0, 1.0, 1.0)
    assert [entry["label"] for entry in (await client.post("/predict", json={"inputs": "a"})).json()] == list(LABELS)


LONG = "a b c d e f g h i j k l m n o p q r s t"


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        ("/classify", {"input": LONG, "truncate_prompt_tokens": 5}, [CLS, *ids("abc"), SEP]),
        (
            "/classify",
            {"input": LONG, "truncate_prompt_tokens": 5, "truncation_side": "left"},
            [CLS, *ids("rst"), SEP],
        ),
        ("/classify", {"input": LONG, "truncate_prompt_tokens": -1}, [CLS, *ids("abcdefghijklmn"), SEP]),
        ("/classify", {"input": "a b", "truncate_prompt_tokens": 16}, [CLS, *ids("ab"), SEP]),
        ("/classify", {"input": [3] * 20, "truncate_prompt_tokens": -1}, [3] * 16),
        (
            "/classify",
            {"input": [*range(3, 20)], "truncate_prompt_tokens": 2, "truncation_side": "left"},
            [18, 19],
        ),
        ("/predict", {"inputs": LONG, "truncate": True}, [CLS, *ids("abcdefghijklmn"), SEP]),
        (
            "/predict",
            {"inputs": LONG, "truncate": True, "truncation_direction": "Left"},
            [CLS, *ids("ghijklmnopqrst"), SEP],
        ),
        (
            "/predict",
            {"inputs": [LONG, "x y"], "truncate": True},
            [CLS, *ids("abcdefghijk"), SEP, *ids("xy"), SEP],
        ),
    ],
)
async def test_cutting(
    client: httpx.AsyncClient, encoder: FakeEncoder, path: str, body: dict[str, Any], tokens: list[int]
) -> None:
    assert (await client.post(path, json=body)).status_code == 200
    assert encoder.asked() == [tokens]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(5, 16), st.sampled_from(["left", "right"]))
def test_pairs_are_cut_as_the_tokenizer_would(one: int, two: int, length: int, side: Any) -> None:
    first, second = " ".join("abcdefghijklmnop"[: one + 1]), " ".join("nmlkjihgfedcba"[: two + 1])
    model = classifier(FakeEncoder(), tokenizer=letter_tokenizer())
    reading = Reading("inputs", cut_to=length, cut_from=side)
    (found,) = asyncio.run(read_inputs(model, [Pair(first, second)], reading, Limits()))
    reference = letter_tokenizer().backend
    reference.enable_truncation(length, strategy="longest_first", direction=side)
    expected = reference.encode(first, second)
    assert (list(found.tokens), list(found.types)) == (expected.ids, expected.type_ids)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("spaces", [0, 3, 5000])
@pytest.mark.parametrize("length", [9, 10_000])
async def test_long_texts_are_cut_without_being_read_whole(side: Any, spaces: int, length: int) -> None:
    letters = ("abcdefghijklmnopqrstuvwxyz" * (length // 26 + 1))[:length]
    gap = " " * spaces
    text = f"{gap}{gap}{f'{gap} '.join(letters[:20])} {' '.join(letters[20:-20])} {f'{gap} '.join(letters[-20:])}{gap}"
    text += " " * (10_000 - len(text))
    reading = Reading("input", cut_to=12, cut_from=side)
    (found,) = await read_inputs(classifier(FakeEncoder()), [text], reading, Limits())
    reference = letter_tokenizer().backend
    reference.enable_truncation(12, direction=side)
    assert list(found.tokens) == reference.encode(text).ids


@pytest.mark.parametrize(
    ("path", "body", "param", "says"),
    [
        ("/classify", {}, "input", "Missing"),
        ("/classify", {"input": ""}, "input", "empty"),
        ("/classify", {"input": []}, "input", "must be"),
        ("/classify", {"input": ["a", ""]}, "input[1]", "empty"),
        ("/classify", {"input": [[]]}, "input", "must be"),
        ("/classify", {"input": [True]}, "input", "must be"),
        ("/classify", {"input": [1.5]}, "input", "must be"),
        ("/classify", {"input": [5, "a"]}, "input", "must be"),
        ("/classify", {"input": {"a": 1}}, "input", "must be"),
        ("/classify", {"input": [29]}, "input", "28"),
        ("/classify", {"input": [[3], [-1]]}, "input[1]", "28"),
        ("/classify", {"input": [10**30]}, "input", "28"),
        ("/classify", {"input": LONG}, "input", "22 tokens"),
        ("/classify", {"input": ["a", LONG]}, "input[1]", "at most 16"),
        ("/classify", {"input": "a " * 100_000}, "input", "200,000 characters"),
        ("/classify", {"input": "a" * (5 << 20)}, "input", "4,194,304"),
        ("/classify", {"input": ["a"] * 2049}, "input", "2,048"),
        ("/classify", {"input": " ", "add_special_tokens": False}, "input", "no tokens"),
        ("/classify", {"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "0"),
        ("/classify", {"input": "a", "truncate_prompt_tokens": 17}, "truncate_prompt_tokens", "16"),
        ("/classify", {"input": "a", "truncate_prompt_tokens": -2}, "truncate_prompt_tokens", "-1"),
        ("/classify", {"input": "a b", "truncate_prompt_tokens": 2}, "input", "no room"),
        ("/classify", {"input": "a", "truncation_side": "middle"}, "truncation_side", "left"),
        ("/classify", {"input": "a", "priority": 1.5}, "priority", "integer"),
        ("/classify", {"input": "a", "softmax": "no"}, "softmax", "boolean"),
        ("/classify", {"input": "a", "messages": []}, "messages", "not supported"),
        ("/classify", {"input": "a", "inputs": "a"}, "inputs", "'input'"),
        ("/predict", {"inputs": ["a", "b", "c"]}, "inputs", '[["a"]'),
        ("/predict", {"inputs": [["a", "b", "c"]]}, "inputs", "3"),
        ("/predict", {"inputs": [[]]}, "inputs", "0"),
        ("/predict", {"inputs": ["a", ["b"]]}, "inputs", "batch"),
        ("/predict", {"inputs": [1, 2]}, "inputs", "batch"),
        ("/predict", {"inputs": ["a", ""]}, "inputs", "empty"),
        ("/predict", {"inputs": [["a"], [""]]}, "inputs[1]", "empty"),
        ("/predict", {"inputs": LONG}, "inputs", "22 tokens"),
        ("/predict", {"inputs": "a", "truncation_direction": "up"}, "truncation_direction", "left"),
        ("/predict", {"inputs": "a", "raw_scores": 1}, "raw_scores", "boolean"),
        ("/predict", {"inputs": "a", "rawscores": True}, "rawscores", "'raw_scores'"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_refused(
    client: httpx.AsyncClient, encoder: FakeEncoder, path: str, body: dict[str, Any], param: str, says: str
) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["param"], error["type"]) == (param, "BadRequestError")
    assert says in error["message"]
    assert len(error["message"]) < 300
    assert encoder.calls == 0


async def test_too_long_has_openais_code(client: httpx.AsyncClient) -> None:
    error = (await client.post("/classify", json={"input": LONG})).json()["error"]
    assert error["code"] == "context_length_exceeded"


async def test_which_model(encoder: FakeEncoder) -> None:
    one, other = classifier(encoder), classifier(encoder, name="moods")
    async with client_of(one, other, embedder(encoder)) as client:
        error = (await client.post("/predict", json={"inputs": "a"})).json()["error"]
        assert "intents, moods" in error["message"]
        answer = await client.post("/predict", json={"inputs": "a", "model": "moods:bf16"})
        assert answer.headers["x-stageline-variant"] == "bf16"
        assert encoder.variants == ["bf16"]
        error = (await client.post("/classify", json={"input": "a", "model": "vectors"})).json()["error"]
        assert "/v1/embeddings" in error["message"]
        error = (await client.post("/v1/completions", json={"prompt": "a", "model": "moods"})).json()["error"]
        assert "/classify" in error["message"]
        assert (await client.post("/classify", json={"input": "a", "model": "none"})).status_code == 404
        cards = (await client.get("/v1/models")).json()["data"]
        assert {card["id"]: card["task"] for card in cards}["vectors:bf16"] == "embedding"
        assert cards[0]["task"] == "text-classification"
