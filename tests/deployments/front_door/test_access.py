"""Keys at the front door: who comes in, what they see, and when they are refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from deployments.access.keys import digest_of
from deployments.access.ring import KeyFile
from deployments.front_door.access import admin_need, public_need
from deployments.front_door.admin import create_admin_app
from deployments.front_door.app import create_app
from engine.errors import EngineFailed
from tests.deployments.front_door.encoder_fakes import FakeEncoder, classifier, embedder
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.servers import serving

OPEN = ("/health", "/ready", "/version")


def entry(name: str, **fields: Any) -> str:
    """A key whose secret is its name."""
    given = {"models": "['*']", **fields}
    return f"  - name: {name}\n    sha256: {digest_of(name.encode()).hex()}\n" + "".join(
        f"    {field}: {value}\n" for field, value in given.items()
    )


KEYS = "keys:\n" + "".join(
    (
        entry("all"),
        entry("one", models="[tiny]"),
        entry("pinned", models="['tiny:fp32']"),
        entry("nothing", models="[]"),
        entry("metrics", models="[]", scopes="[metrics]"),
        entry("admin", models="[]", scopes="[admin]"),
        entry("old", expires="2001-01-01"),
        entry("few", limits="{requests_per_minute: 2}"),
        entry("short", limits="{tokens_per_minute: 100}"),
        entry("single", limits="{concurrent: 1}"),
    )
)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    path = tmp_path / "keys.yaml"
    path.write_text(KEYS)
    return KeyFile(path)


@pytest.fixture
async def client(engine: FakeEngine, keys: KeyFile) -> AsyncIterator[httpx.AsyncClient]:
    others = {"vectors": embedder(FakeEncoder()), "topics": classifier(FakeEncoder(), name="topics")}
    app = create_app(make_service(engine, keys=keys, models={**make_service(engine).models, **others}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def complete(client: httpx.AsyncClient, key: str, **body: Any) -> httpx.Response:
    return await client.post("/v1/completions", json={"model": "tiny", "prompt": "Hi", **body}, headers=bearer(key))


@pytest.mark.parametrize("path", OPEN)
async def test_open_to_all(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200
    assert (await client.get(path, headers=bearer("wrong"))).status_code == 200


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), bearer("old"), {"Authorization": "Basic all"}])
@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/completions", "/metrics", "/status", "/openapi.json", "/none", "/health/", "//health"]
)
async def test_nothing_without_a_key(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
    for answer in (await client.get(path, headers=headers), await client.post(path, headers=headers, json={})):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("AuthenticationError", "invalid_api_key")
        assert "x-request-id" in answer.headers


async def test_models_of_a_key(client: httpx.AsyncClient) -> None:
    async def listed(key: str) -> list[str]:
        answer = (await client.get("/v1/models", headers=bearer(key))).json()
        return [one["id"] for one in answer["data"]]

    assert await listed("all") == [
        *("tiny", "vectors", "topics"),
        *("tiny:bf16", "tiny:fp32", "vectors:fp32", "vectors:bf16", "topics:fp32", "topics:bf16"),
    ]
    assert await listed("one") == ["tiny", "tiny:bf16", "tiny:fp32"]
    assert await listed("pinned") == ["tiny", "tiny:fp32"]
    assert await listed("nothing") == []
    card = (await client.get("/v1/models/tiny", headers=bearer("pinned"))).json()
    assert [one["name"] for one in card["variants"]] == ["fp32"]
    assert (await client.get("/v1/models/tiny:bf16", headers=bearer("pinned"))).status_code == 404
    assert (await client.get("/v1/models/vectors", headers=bearer("one"))).status_code == 404


async def test_what_a_key_may_not_use_is_not_there(client: httpx.AsyncClient) -> None:
    for path, body in (
        ("/v1/embeddings", {"model": "vectors", "input": "a"}),
        ("/embed", {"model": "vectors", "inputs": "a"}),
        ("/classify", {"model": "topics", "input": "a"}),
        ("/predict", {"model": "topics", "inputs": "a"}),
    ):
        assert (await client.post(path, json=body, headers=bearer("all"))).status_code == 200
        hidden = await client.post(path, json=body, headers=bearer("one"))
        unknown = await client.post(path, json={**body, "model": "unknown"}, headers=bearer("one"))
        assert (hidden.status_code, unknown.status_code) == (404, 404)
        name = str(body["model"])
        assert hidden.json()["error"]["message"] == unknown.json()["error"]["message"].replace("unknown", name)
    for path in ("/v1/chat/completions", "/tokenize", "/v1/completions"):
        chat = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
        asked = {"model": "tiny", "prompt": "Hi"} if path == "/v1/completions" else chat
        assert (await client.post(path, json=asked, headers=bearer("nothing"))).status_code == 404
        assert (await client.post(path, json=asked, headers=bearer("one"))).status_code == 200
    answer = await client.post("/translate", json={"q": "a", "source": "en", "target": "de"}, headers=bearer("one"))
    assert answer.status_code == 400
    assert (await client.get("/languages", headers=bearer("one"))).json() == []
    assert (await client.post("/v1/completions", json={"prompt": "Hi"}, headers=bearer("nothing"))).status_code == 400


async def test_variants_of_a_key(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    assert (await complete(client, "pinned")).status_code == 200
    assert (await complete(client, "pinned", model="tiny:fp32")).status_code == 200
    assert engine.variants == ["fp32", "fp32"]
    answer = await complete(client, "pinned", model="tiny:bf16")
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "model")
    assert "Its variants: fp32." in answer.json()["error"]["message"]


async def test_what_operators_read(client: httpx.AsyncClient) -> None:
    for path in ("/metrics", "/status"):
        for key, status in (("admin", 200), ("metrics", 200), ("all", 403)):
            answer = await client.get(path, headers=bearer(key))
            assert answer.status_code == status
        assert answer.json()["error"]["type"] == "PermissionDeniedError"
    page = (await client.get("/metrics", headers=bearer("metrics"))).text
    assert "stageline:api_keys 10.0" in page
    assert "stageline:api_keys_broken 0.0" in page
    assert 'admission_rejections_total{engine="",model_name="",reason="key"} 2.0' in page


async def test_requests_a_minute(client: httpx.AsyncClient) -> None:
    for left in ("1", "0"):
        answer = await complete(client, "few", stream=True)
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert answer.headers["x-ratelimit-remaining-requests"] == left
    answer = await complete(client, "few")
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (429, "RateLimitError", "rate_limit_exceeded")
    assert 25 <= int(answer.headers["Retry-After"]) <= 30
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["x-ratelimit-reset-requests"].startswith(("1m0s", "59."))
    assert (await complete(client, "all")).status_code == 200
    page = (await client.get("/metrics", headers=bearer("admin"))).text
    assert 'admission_rejections_total{engine="",model_name="",reason="requests"} 1.0' in page


async def test_tokens_a_minute(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    answer = await complete(client, "short", max_tokens=60)  # the prompt has three tokens, the answer thirteen
    used = answer.json()["usage"]["total_tokens"]
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(100 - 60 - answer.json()["usage"]["prompt_tokens"])
    answer = await complete(client, "short", max_tokens=60)
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) in (100 - used - 62, 100 - used - 63, 100 - used - 61)
    engine.failure = EngineFailed("no")
    assert (await complete(client, "short", max_tokens=60)).status_code == 500  # what nobody computed is given back
    engine.failure = None
    answer = await complete(client, "short", max_tokens=100)
    assert answer.status_code == 429
    assert "tokens a minute" in answer.json()["error"]["message"]
    left = int(answer.headers["x-ratelimit-remaining-tokens"])
    assert 100 - 2 * used - 1 <= left <= 100 - 2 * used + 1
    page = (await client.get("/metrics", headers=bearer("admin"))).text
    assert 'admission_rejections_total{engine="",model_name="tiny",reason="tokens"} 1.0' in page


async def test_texts_are_counted_by_their_tokens(client: httpx.AsyncClient) -> None:
    body = {"model": "vectors", "input": ["a b c"] * 3}
    answer = await client.post("/v1/embeddings", json=body, headers=bearer("short"))
    used = answer.json()["usage"]["total_tokens"]
    answer = await client.get("/v1/models", headers=bearer("short"))
    assert answer.headers["x-ratelimit-remaining-tokens"] in (str(100 - used), str(101 - used))


async def test_open_requests(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    hold = asyncio.Event()

    async def wait(position: int) -> None:
        await hold.wait()

    engine.gate = wait
    running = asyncio.ensure_future(complete(client, "single"))
    while not engine.open:  # noqa: ASYNC110
        await asyncio.sleep(0)
    answer = await complete(client, "single")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert "x-ratelimit-limit-requests" not in answer.headers
    hold.set()
    assert (await running).status_code == 200
    assert (await complete(client, "single")).status_code == 200
    engine.failure, engine.gate = EngineFailed("no"), None
    assert (await complete(client, "single")).status_code == 500
    engine.failure = None
    assert (await complete(client, "single", logprobs=1000)).status_code == 400
    assert (await complete(client, "single")).status_code == 200


async def test_no_key_is_logged(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await complete(client, "wrong-secret")
        await complete(client, "all", logprobs=1000)
    assert "wrong-secret" not in caplog.text
    assert "Bearer" not in caplog.text


def test_needs() -> None:
    assert [public_need(path) for path in ("/console", "/console/app.js", "/consoles", "/console/../metrics")] == [
        *(None, None, "any", None)
    ]
    assert [public_need(path) for path in ("/metrics", "/metrics/", "/status", "/")] == [
        "metrics",
        "any",
        "metrics",
        "any",
    ]
    assert [admin_need(path) for path in ("/admin", "/admin/x", "/administration", "/metrics", "/health")] == [
        *("admin", "admin", None, None, None)
    ]


async def test_the_admin_port(engine: FakeEngine, keys: KeyFile) -> None:
    door = create_app(make_service(engine, keys=keys)).state.door
    transport = httpx.ASGITransport(create_admin_app(door))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for path in ("/health", "/metrics", "/status"):
            assert (await client.get(path)).status_code == 200
        for headers, status in (({}, 401), (bearer("all"), 403), (bearer("metrics"), 403), (bearer("admin"), 404)):
            assert (await client.get("/admin/nothing", headers=headers)).status_code == status
    door = create_app(make_service(engine)).state.door
    transport = httpx.ASGITransport(create_admin_app(door))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/admin/nothing")).status_code == 404


def test_openai_understands(engine: FakeEngine, keys: KeyFile) -> None:
    with serving(create_app(make_service(engine, keys=keys))) as address, ExitStack() as stack:

        def asking(key: str) -> openai.OpenAI:
            return stack.enter_context(openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0))

        assert asking("all").completions.create(model="tiny", prompt="Hi").choices
        with pytest.raises(openai.AuthenticationError) as refused:
            asking("wrong").completions.create(model="tiny", prompt="Hi")
        assert refused.value.code == "invalid_api_key"
        with pytest.raises(openai.NotFoundError):
            asking("nothing").completions.create(model="tiny", prompt="Hi")
        few = asking("few")
        for _ in range(2):
            few.completions.create(model="tiny", prompt="Hi")
        with pytest.raises(openai.RateLimitError) as limited:
            few.completions.create(model="tiny", prompt="Hi")
        assert limited.value.code == "rate_limit_exceeded"
