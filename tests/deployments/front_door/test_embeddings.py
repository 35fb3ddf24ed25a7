"""`/v1/embeddings` and `/embed`."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai.types import embedding_create_params

from deployments.front_door.app import create_app
from deployments.front_door.schemas.embeddings import EmbeddingsBody
from engine.encoder.request import Encoded
from tests.deployments.front_door.encoder_fakes import CLS, SEP, FakeEncoder, client_of, embedder, ids, service_of
from tests.deployments.front_door.servers import serving
from tests.deployments.front_door.test_classify import LONG

UNIT = (0.6, 0.0, -0.8)


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder(values=UNIT)


@pytest.fixture
async def client(encoder: FakeEncoder) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(embedder(encoder)) as client:
        yield client


async def test_embeddings(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    response = await client.post("/v1/embeddings", json={"model": "vectors", "input": ["a b", "c"], "user": "me"})
    assert response.headers["x-stageline-variant"] == "fp32"
    body = response.json()
    assert [entry.pop("embedding") for entry in body["data"]] == [pytest.approx(UNIT), pytest.approx(UNIT)]
    assert body == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0}, {"object": "embedding", "index": 1}],
        "model": "vectors",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    assert encoder.asked() == [[CLS, *ids("ab"), SEP], [CLS, *ids("c"), SEP]]
    assert encoder.calls == 1


async def test_base64_holds_little_endian_floats(client: httpx.AsyncClient) -> None:
    body = (await client.post("/v1/embeddings", json={"input": "a", "encoding_format": "base64"})).json()
    raw = base64.b64decode(body["data"][0]["embedding"])
    assert struct.unpack("<3f", raw) == pytest.approx(UNIT)


async def test_numbers_come_through_whole(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    values = np.array([1 / 3, 1e-30, -(np.float32(2) ** -149)], dtype=np.float32)
    encoder.answer = lambda request: Encoded(values)
    body = (await client.post("/v1/embeddings", json={"input": "a"})).json()
    assert np.array(body["data"][0]["embedding"], dtype=np.float32).tobytes() == values.tobytes()


async def test_dimensions(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    encoder.values = (0.36, 0.48, 0.8)
    for size, expected in ((3, [0.36, 0.48, 0.8]), (2, [0.6, 0.8]), (1, [1.0])):
        body = (await client.post("/v1/embeddings", json={"input": "a", "dimensions": size})).json()
        assert body["data"][0]["embedding"] == pytest.approx(expected)
    for wrong in (0, -1, 4, 1.5, "2", 10**30):
        response = await client.post("/v1/embeddings", json={"input": "a", "dimensions": wrong})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "dimensions"
    encoder.values = (0.0, 0.0, 1.0)
    body = (await client.post("/v1/embeddings", json={"input": "a", "dimensions": 2})).json()
    assert body["data"][0]["embedding"] == [0.0, 0.0]


async def test_a_model_that_does_not_normalize(encoder: FakeEncoder) -> None:
    encoder.values = (3.0, 4.0, 12.0)
    async with client_of(embedder(encoder, normalized=False)) as client:
        body = (await client.post("/v1/embeddings", json={"input": "a", "dimensions": 2})).json()
        assert body["data"][0]["embedding"] == [3.0, 4.0]
        assert (await client.post("/embed", json={"inputs": "a", "normalize": False})).json() == [[3.0, 4.0, 12.0]]
        unit = (await client.post("/embed", json={"inputs": "a"})).json()[0]
        assert unit == pytest.approx([3 / 13, 4 / 13, 12 / 13])
        assert (await client.post("/embed", json={"inputs": "a", "dimensions": 2})).json()[0] == pytest.approx(
            [0.6, 0.8]
        )


async def test_a_model_with_a_prompt_of_its_own(encoder: FakeEncoder) -> None:
    async with client_of(embedder(encoder, prompt="q ", lower_case=True)) as client:
        body = (await client.post("/v1/embeddings", json={"input": ["A b", [3, 4]]})).json()
        assert body["usage"]["prompt_tokens"] == 7
        assert encoder.asked() == [[CLS, *ids("qab"), SEP], [3, 4]]
        assert (await client.post("/v1/embeddings", json={"input": ""})).status_code == 400


async def test_embed(client: httpx.AsyncClient, encoder: FakeEncoder) -> None:
    assert (await client.post("/embed", json={"inputs": "a"})).json() == [pytest.approx(UNIT)]
    body = (await client.post("/embed", json={"inputs": ["a", LONG], "truncate": True})).json()
    assert len(body) == 2
    assert len(encoder.requests[-1].tokens) == 16
    response = await client.post("/embed", json={"inputs": "a", "normalize": False})
    assert response.json()["error"]["param"] == "normalize"
    response = await client.post("/embed", json={"inputs": "a", "prompt_name": "query"})
    assert response.json()["error"]["param"] == "prompt_name"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": LONG}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [[3], [29]]}, "input[1]"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "encoding_formt": "float"}, "encoding_formt"),
        ({"input": "a", "embed_dtype": "bfloat16"}, "embed_dtype"),
        ({"input": "a", "model": 5}, "model"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_refused(client: httpx.AsyncClient, encoder: FakeEncoder, body: dict[str, Any], param: str) -> None:
    response = await client.post("/v1/embeddings", json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert encoder.calls == 0


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
async def test_many_texts_at_once(encoder: FakeEncoder, encoding_format: str) -> None:
    encoder.answer = lambda request: Encoded(np.full(384, request.tokens[1], dtype=np.float32))
    async with client_of(embedder(encoder, dimension=384)) as client:
        texts = ["abcdefghij"[index % 10] for index in range(2048)]
        body = (await client.post("/v1/embeddings", json={"input": texts, "encoding_format": encoding_format})).json()
    for index, entry in enumerate(body["data"]):
        row = entry["embedding"]
        first = struct.unpack_from("<f", base64.b64decode(row))[0] if isinstance(row, str) else row[0]
        assert (entry["index"], first) == (index, 3 + index % 10)


def test_every_field_of_the_openai_client_is_known() -> None:
    names = set(embedding_create_params.EmbeddingCreateParams.__annotations__)
    assert names <= {*EmbeddingsBody.model_fields, *EmbeddingsBody.ignored, *EmbeddingsBody.unsupported}


@pytest.fixture
def api(encoder: FakeEncoder) -> Iterator[openai.OpenAI]:
    with (
        serving(create_app(service_of(embedder(encoder)))) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as api,
    ):
        yield api


def test_openai_client(api: openai.OpenAI, encoder: FakeEncoder) -> None:
    for extra in ({}, {"encoding_format": "float"}):  # by itself it asks for base64
        answer = api.embeddings.create(model="vectors", input=["a", "b"], **extra)  # type: ignore[arg-type]
        assert [entry.embedding for entry in answer.data] == [pytest.approx(UNIT), pytest.approx(UNIT)]
        assert answer.usage.prompt_tokens == 6
    raw = api.embeddings.create(model="vectors", input="a", encoding_format="base64", dimensions=1)
    assert struct.unpack("<f", base64.b64decode(str(raw.data[0].embedding))) == (1.0,)
    api.embeddings.create(model="vectors:bf16", input=[[3, 4]], extra_body={"truncate_prompt_tokens": 1})
    assert (encoder.requests[-1].tokens, encoder.variants[-1]) == ((3,), "bf16")
    with pytest.raises(openai.BadRequestError) as bad:
        api.embeddings.create(model="vectors", input=LONG)
    assert (bad.value.param, bad.value.code) == ("input", "context_length_exceeded")
    with pytest.raises(openai.NotFoundError):
        api.embeddings.create(model="none", input="a")
