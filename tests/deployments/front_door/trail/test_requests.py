"""Records of requests that go through the front door, over fake engines, and what operators are told of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from deployments.access.keys import digest_of
from deployments.access.ring import KeyFile
from deployments.front_door.admin import create_admin_app
from deployments.front_door.app import create_app
from deployments.front_door.service import Service
from deployments.front_door.trail.asking import told
from deployments.front_door.trail.ring import Query, Ring
from deployments.variants import VariantInfo
from engine.errors import EngineFailed
from tests.deployments.front_door.encoder_fakes import FakeEncoder, classifier, service_of
from tests.deployments.front_door.fakes import FakeEngine, make_service

CANARY = "canary-4711"


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
async def app(engine: FakeEngine) -> FastAPI:
    variants = (VariantInfo("fp32", retained=1.0, measured=True), VariantInfo("int8-dynamic", retained=0.97))
    return create_app(make_service(engine, variants=variants))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def admin(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_admin_app(app.state.door)) as admin:
        yield admin


async def complete(client: httpx.AsyncClient, name: str, **body: Any) -> httpx.Response:
    body = {"model": "tiny", "prompt": "Hi", "max_tokens": 3, **body}
    return await client.post("/v1/completions", json=body, headers={"X-Request-Id": name})


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_told_of(client: httpx.AsyncClient, admin: httpx.AsyncClient, stream: bool) -> None:
    await complete(client, "mine/1", stream=stream, n=2, min_quality=0.99)
    found = (await admin.get("/admin/requests/mine%2F1")).json()
    assert (found["outcome"], found["status"], found["path"]) == ("ok", 200, "/v1/completions")
    assert (found["model"], found["variant"], found["streamed"]) == ("tiny", "fp32", stream)
    assert (found["prompt_tokens"], found["output_tokens"]) == (4, 6)
    assert [one["verdict"] for one in found["choice"]["candidates"]] == ["chosen", "quality"]
    assert found["first_s"] > 0
    assert found["flushes"] >= (3 if stream else 1)
    assert sum(one["seconds"] for one in found["phases"]) == pytest.approx(found["took_s"], abs=1e-4)


async def test_texts_are_told_of(admin: httpx.AsyncClient) -> None:
    door = create_app(service_of(classifier(FakeEncoder(), name="labels")))
    async with client_of(door) as client, client_of(create_admin_app(door.state.door)) as admin:
        await client.post("/classify", json={"model": "labels", "input": ["a", "b"]})
        (line,) = (await admin.get("/admin/requests")).json()["requests"]
    assert (line["outcome"], line["path"], line["model"]) == ("ok", "/classify", "labels")
    assert line["prompt_tokens"] > 0


async def test_how_requests_end(client: httpx.AsyncClient, admin: httpx.AsyncClient, engine: FakeEngine) -> None:
    await complete(client, "refused", logprobs=1000)
    engine.failure, engine.fail_after = EngineFailed("no"), 1
    await complete(client, "failed")
    await complete(client, "cut", stream=True)
    await client.get("/v1/models")
    lines = (await admin.get("/admin/requests")).json()["requests"]
    assert [(one["id"], one["outcome"], one["status"], one["error"]) for one in lines] == [
        ("cut", "failed", 200, "EngineFailed"),
        ("failed", "failed", 500, "EngineFailed"),
        ("refused", "refused", 400, "InvalidRequest"),
    ]
    failed = (await admin.get("/admin/requests", params={"which": "failed", "limit": 1})).json()["requests"]
    assert [one["id"] for one in failed] == ["cut"]
    assert (await admin.get("/admin/requests", params={"which": "best"})).status_code == 400


async def test_open_requests(client: httpx.AsyncClient, admin: httpx.AsyncClient, engine: FakeEngine) -> None:
    seen: list[Any] = []

    async def look(position: int) -> None:
        seen.append((await admin.get("/admin/requests", params={"which": "open"})).json()["requests"][0])

    engine.gate = look
    await complete(client, "now", max_tokens=1)
    assert [(one["id"], one["outcome"], one["status"]) for one in seen] == [("now", "open", None)]


async def test_an_unknown_request(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/admin/requests/nobody")
    assert answer.status_code == 404
    assert "No request 'nobody' is remembered" in answer.json()["error"]["message"]


async def test_all_front_doors_are_asked(engine: FakeEngine) -> None:
    other = create_app(make_service(engine))
    async with client_of(other) as client:
        await complete(client, "there")
    ring: Ring = other.state.door.ring

    async def elsewhere(question: Query | str) -> Sequence[list[dict[str, Any]]]:
        return [told(ring, question)]

    here = create_app(make_service(engine, trails_elsewhere=elsewhere))
    async with client_of(here) as client, client_of(create_admin_app(here.state.door)) as admin:
        await complete(client, "here")
        lines = (await admin.get("/admin/requests")).json()["requests"]
        assert [one["id"] for one in lines] == ["here", "there"]
        assert len((await admin.get("/admin/requests", params={"limit": 1})).json()["requests"]) == 1
        assert (await admin.get("/admin/requests/there")).json()["id"] == "there"


async def test_nothing_that_was_sent_is_kept(client: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    key = {"Authorization": f"Bearer {CANARY}"}
    chat = {"messages": [{"role": "user", "content": CANARY}]}
    for path, body in (
        ("/v1/completions", {"prompt": CANARY}),
        ("/v1/completions", {"prompt": "x", "stop": [CANARY], "suffix": CANARY, "user": CANARY}),
        ("/v1/completions", {"prompt": "x", CANARY: 1}),
        ("/v1/completions", {"prompt": "x", "response_format": {"type": CANARY}}),
        ("/v1/completions", {"prompt": {CANARY: CANARY}}),
        ("/v1/completions", {"prompt": "x", "model": CANARY}),
        ("/v1/chat/completions", chat),
        ("/v1/chat/completions", {**chat, "tools": [CANARY]}),
        ("/tokenize", {"prompt": CANARY}),
        (f"/{CANARY}", {}),
        (f"/v1/completions?q={CANARY}", {"prompt": CANARY}),
    ):
        await client.post(path, json={"model": "tiny", "max_tokens": 2, **body}, headers=key)
    lines = (await admin.get("/admin/requests")).json()["requests"]
    assert len(lines) == 11
    for line in lines:
        assert CANARY not in (await admin.get(f"/admin/requests/{line['id']}")).text
    assert CANARY not in str(lines)


def test_a_service_is_slow_where_it_says(engine: FakeEngine) -> None:
    service: Service = make_service(engine, slow_s=2.5)
    assert create_app(service).state.door.ring.slow_s == 2.5


async def test_whose_key_it_was_is_told_and_never_the_key(engine: FakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    fields = "    models: ['tiny:fp32']\n    scopes: [admin]\n"
    path.write_text(f"keys:\n  - name: mine\n    sha256: {digest_of(CANARY.encode()).hex()}\n{fields}")
    app = create_app(make_service(engine, keys=KeyFile(path)))
    key = {"Authorization": f"Bearer {CANARY}"}
    async with client_of(app) as client, client_of(create_admin_app(app.state.door)) as admin:
        for headers in (key, {"Authorization": "Bearer wrong"}):
            await client.post(
                "/v1/completions", json={"model": "tiny", "prompt": "x", "max_tokens": 1}, headers=headers
            )
        assert (await client.post("/health")).status_code == 405  # for which no key is asked
        assert (await admin.get("/admin/requests")).status_code == 401
        answer = await admin.get("/admin/requests", headers=key)
        (line,) = answer.json()["requests"]
        assert line["key"] == "mine"
        found = await admin.get(f"/admin/requests/{line['id']}", headers=key)
    assert {one["variant"]: one["verdict"] for one in found.json()["choice"]["candidates"]} == {
        "fp32": "chosen",
        "bf16": "key",
    }
    assert CANARY not in found.text
