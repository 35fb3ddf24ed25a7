"""Requests and the variants that answer them, over fake engines: what is asked for, what is counted, what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from deployments.access.account import Account
from deployments.access.caller import ANYBODY, Caller
from deployments.access.keys import Key
from deployments.front_door.app import create_app
from deployments.front_door.routed import caller_of, items_demand, texts_demand
from deployments.front_door.schemas.inputs import Pair
from deployments.front_door.service import Service
from deployments.load import Load, StepCost
from deployments.routing.router import Router
from deployments.variants import VariantInfo
from engine.errors import EngineFailed
from tests.deployments.front_door.encoder_fakes import FakeEncoder, classifier, embedder, service_of
from tests.deployments.front_door.fakes import FakeEngine, make_service

VARIANTS = (
    VariantInfo("int8-dynamic", retained=0.97, measured=True),
    VariantInfo("bf16", retained=1.0),
    VariantInfo("int4-weight"),
)
QUICK, SLOW = StepCost(0.001, 0.00001), StepCost(0.5, 0.01)


@pytest.fixture
def service(engine: FakeEngine) -> Service:
    return make_service(engine, variants=VARIANTS)


@pytest.fixture
def router(service: Service) -> Router:
    return service.models["tiny"].router


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def complete(client: httpx.AsyncClient, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    body = {"model": "tiny", "prompt": "Hi", "max_tokens": 3, **body}
    return await client.post("/v1/completions", json=body, headers=headers)


def hear(router: Router, variant: str, cost: StepCost, places: int = 320, slots: int = 64) -> None:
    router.hear(variant, [Load("r", cost=cost, places=places, slots=slots, step_tokens=512, output_tokens=20)])


async def test_the_best_variant_answers_unless_it_is_slow(client: httpx.AsyncClient, router: Router) -> None:
    assert (await complete(client)).headers["X-Stageline-Variant"] == "bf16"
    hear(router, "bf16", SLOW)
    hear(router, "int8-dynamic", QUICK)
    answer = await client.post(
        "/v1/chat/completions", json={"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
    )
    assert answer.headers["X-Stageline-Variant"] == "int8-dynamic"
    assert (await complete(client, model="tiny:bf16")).headers["X-Stageline-Variant"] == "bf16"
    assert (await complete(client, min_quality=0.99)).headers["X-Stageline-Variant"] == "bf16"
    assert (await complete(client, min_quality=0.97)).headers["X-Stageline-Variant"] == "int8-dynamic"


@pytest.mark.parametrize("stream", [False, True])
async def test_whatever_becomes_of_a_request_it_is_no_longer_counted(
    client: httpx.AsyncClient, router: Router, engine: FakeEngine, stream: bool
) -> None:
    counted: list[int] = []

    async def look(position: int) -> None:
        counted.append(router.counts.of("bf16").open)
        await asyncio.sleep(0)

    engine.gate = look
    await complete(client, stream=stream, n=3)
    assert set(counted) == {3}
    engine.gate, engine.failure, engine.fail_after = None, EngineFailed("no"), 1
    await complete(client, stream=stream)
    await complete(client, stream=stream, logprobs=1000)
    await complete(client, stream=stream, stop=["x"] * 1000)
    count = router.counts.of("bf16")
    assert (count.open, count.begun, count.prompt_tokens, count.callers) == (0, 0, 0, {})


async def test_what_cannot_be(client: httpx.AsyncClient) -> None:
    answer = await complete(client, model="tiny:int4-weight", min_quality=0.5)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "min_quality")
    assert "is not known" in answer.json()["error"]["message"]
    for body in ({"min_quality": 2}, {"min_quality": "0.5"}, {"variant_policy": "cheap"}):
        assert (await complete(client, **body)).status_code == 400
    assert (await complete(client, min_quality=None, variant_policy=None)).status_code == 200


async def test_full_variants_and_greedy_callers(client: httpx.AsyncClient, router: Router, engine: FakeEngine) -> None:
    hold = asyncio.Event()

    async def wait(position: int) -> None:
        await hold.wait()

    engine.gate = wait
    hear(router, "bf16", QUICK, places=12, slots=2)
    body = {"model": "tiny:bf16"}
    greedy = {"Authorization": "Bearer greedy"}
    modest = {"Authorization": "Bearer modest"}
    running: list[asyncio.Future[httpx.Response]] = []

    async def add(headers: dict[str, str], count: int) -> None:
        running.extend(asyncio.ensure_future(complete(client, headers, **body)) for _ in range(count))
        while len(engine.open) < len(running):  # noqa: ASYNC110
            await asyncio.sleep(0)

    await add(modest, 1)
    await add(greedy, 9)
    hear(router, "bf16", QUICK, places=12, slots=2)
    await add(greedy, 1)
    answer = await complete(client, greedy, **body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "RateLimitError")
    assert int(answer.headers["Retry-After"]) >= 1
    await add(modest, 1)
    answer = await complete(client, {"Authorization": "Bearer third"}, **body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "ServiceUnavailableError")
    assert int(answer.headers["Retry-After"]) >= 1
    hold.set()
    assert {one.status_code for one in await asyncio.gather(*running)} == {200}
    page = (await client.get("/metrics")).text
    assert 'admission_rejections_total{engine="bf16",model_name="tiny",reason="fairness"} 1.0' in page
    assert 'admission_rejections_total{engine="bf16",model_name="tiny",reason="overloaded"} 1.0' in page


async def test_models_and_metrics_tell(client: httpx.AsyncClient, router: Router) -> None:
    hear(router, "bf16", SLOW)
    hear(router, "int8-dynamic", QUICK)
    router.look()
    shown = (await client.get("/v1/models/tiny")).json()["variants"]
    assert shown[0] == {
        "name": "int8-dynamic",
        "state": "ready",
        "quality": 0.97,
        "speedup": None,
        "measured": True,
        "replicas": 1,
    }
    assert shown[2]["quality"] is None
    (only,) = (await client.get("/v1/models/tiny:bf16")).json()["variants"]
    assert only["name"] == "bf16"
    router.hear("bf16", [])
    await complete(client)
    page = (await client.get("/metrics")).text
    for line in (
        'stageline:variant_steps_total{from="bf16",model_name="tiny",reason="unavailable",to="int8-dynamic"} 1.0',
        'stageline:variant_preferred{engine="int8-dynamic",model_name="tiny"} 1.0',
        'stageline:variant_decisions_total{engine="int8-dynamic",model_name="tiny",reason="objective"} 1.0',
        'stageline:variant_open_requests{engine="bf16",model_name="tiny"} 0.0',
        'stageline:variant_replicas{engine="bf16",model_name="tiny"} 0.0',
        'stageline:variant_replicas{engine="int8-dynamic",model_name="tiny"} 1.0',
        'stageline:variant_state{engine="bf16",model_name="tiny",state="unavailable"} 1.0',
        'stageline:variant_state{engine="bf16",model_name="tiny",state="ready"} 0.0',
        'stageline:variant_quality{engine="int8-dynamic",model_name="tiny"} 0.97',
        'stageline:stream_resumptions_total{cause="died",engine="bf16",model_name="tiny"} 0.0',
        "stageline:ready 1.0",
    ):
        assert line in page, page


async def test_texts_are_routed_too() -> None:
    encoder = FakeEncoder()
    service = service_of(classifier(encoder), embedder(encoder))
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for name, model in service.models.items():
            path = "/v1/embeddings" if model.task == "embedding" else "/classify"
            for variant in model.variants:
                answer = await client.post(path, json={"model": f"{name}:{variant.name}", "input": ["a", "b"]})
                assert answer.headers["X-Stageline-Variant"] == variant.name, answer.text
            answer = await client.post(path, json={"model": name, "input": "a", "min_quality": 1.0})
            assert answer.status_code == 400, "nothing is known of their quality"
            assert all(model.router.counts.of(variant.name).open == 0 for variant in model.variants)


def test_sizes_are_guessed() -> None:
    assert items_demand(["a" * 400, (1, 2, 3)], None).prompt_tokens == 102 + 3
    assert items_demand(["a" * 400, Pair("a" * 40, "b" * 40)], 16).prompt_tokens == 32
    demand = texts_demand(["a" * 1200, "b"], 100)
    assert (demand.count, demand.most_tokens) == (11, 100)
    assert texts_demand([""], 5).count == 1


def test_callers() -> None:
    def asked(**headers: str) -> Any:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return caller_of(Request({"type": "http", "headers": raw, "client": ("10.0.0.1", 5)}), ANYBODY)

    assert asked() == asked(authorization="Basic abc") == asked(authorization="Bearer ") == "10.0.0.1"
    assert asked(authorization="Bearer a") == asked(authorization="bearer  a ") != asked(authorization="Bearer b")
    assert "secret" not in asked(authorization="Bearer secret")
    request = Request({"type": "http", "headers": [(b"authorization", b"Bearer secret")]})
    assert caller_of(request, Caller(Account(Key("team-a", b"")))) == "team-a"
