"""What counts against a key's tokens a minute, however its request ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from deployments.access.keys import digest_of
from deployments.access.ring import KeyFile
from deployments.front_door.app import create_app
from deployments.front_door.trail.record import begin_call
from engine.errors import EngineFailed, Overloaded
from tests.deployments.front_door.encoder_fakes import FakeEncoder, embedder, service_of
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.translation_fakes import FakeTranslator, translator

DEADLINE = {"x-request-timeout-seconds": "0.5"}
KEY = {"Authorization": "Bearer mine"}
PROMPT = "x" * 50


def keys(tmp_path: Path, tokens_per_minute: int) -> KeyFile:
    path = tmp_path / "keys.yaml"
    limits = f"limits: {{tokens_per_minute: {tokens_per_minute}}}"
    path.write_text(f"keys: [{{name: mine, sha256: {digest_of(b'mine').hex()}, models: ['*'], {limits}}}]")
    return KeyFile(path)


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=KEY)


async def left(app: FastAPI) -> int:
    """Tokens that the key may still use; each second a sixtieth of its limit comes back."""
    async with client(app) as one:
        return int((await one.get("/v1/models")).headers["x-ratelimit-remaining-tokens"])


def reach() -> None:
    """As when a replica is asked."""
    begin_call().visit().sent = 1.0


async def leave(app: FastAPI, path: str, body: dict[str, Any], when: asyncio.Event) -> None:
    """Ask, and close the connection then."""
    content = json.dumps(body).encode()
    parts = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Any:
        if parts:
            return parts.pop()
        await when.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None: ...

    named = [(b"content-type", b"application/json"), (b"authorization", b"Bearer mine"), (b"host", b"test")]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": named, "http_version": "1.1", "scheme": "http", "server": ("test", 80), "client": ("test", 1),
        "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 30)


class Silent:
    """A gate at which engines wait for ever, with or without a replica that has the call."""

    def __init__(self, *, reached: bool) -> None:
        self.reached = reached
        self.came = asyncio.Event()

    async def __call__(self, position: int = 0) -> None:
        if self.reached:
            reach()
        self.came.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reached", [False, True])
async def test_a_prompt_counts_for_who_leaves_once_a_replica_has_it(
    tmp_path: Path, reached: bool, stream: bool
) -> None:
    gate = Silent(reached=reached)
    app = create_app(make_service(FakeEngine(gate=gate), keys=keys(tmp_path, 60)))
    await leave(app, "/v1/completions", {"prompt": PROMPT, "max_tokens": 5, "stream": stream}, gate.came)
    assert (await left(app) < 40) is reached
    if not reached:
        assert await left(app) == 60


@pytest.mark.parametrize("reached", [False, True])
async def test_and_for_who_gives_too_little_time(tmp_path: Path, reached: bool) -> None:
    app = create_app(make_service(FakeEngine(gate=Silent(reached=reached)), keys=keys(tmp_path, 60)))
    async with client(app) as one:
        body = {"prompt": [PROMPT[:20], PROMPT[:25]], "n": 2, "max_tokens": 5}
        assert (await one.post("/v1/completions", json=body, headers=DEADLINE)).status_code == 408
    assert (await left(app) < 35) is reached  # both prompts, each once


@pytest.mark.parametrize("failure", [EngineFailed("no"), Overloaded("full")])
async def test_what_a_failure_kept_from_being_computed_costs_nothing(tmp_path: Path, failure: Exception) -> None:
    engine = FakeEngine()

    async def gate(position: int) -> None:
        reach()
        if len(engine.requests) == 2:
            raise failure
        await asyncio.Event().wait()

    engine.gate = gate
    app = create_app(make_service(engine, keys=keys(tmp_path, 60)))
    async with client(app) as one:
        body = {"prompt": [PROMPT[:20], PROMPT[:25]], "max_tokens": 5}
        assert (await one.post("/v1/completions", json=body)).status_code >= 500
    assert await left(app) == 60


@pytest.mark.parametrize("reached", [False, True])
async def test_texts_count_by_the_group(tmp_path: Path, reached: bool) -> None:
    encoder = FakeEncoder()
    last = Silent(reached=reached)

    async def gate() -> None:
        if encoder.calls > 1:  # the first 128 of them are answered
            await last()

    encoder.gate = gate
    app = create_app(service_of(embedder(encoder), keys=keys(tmp_path, 800)))
    await leave(app, "/v1/embeddings", {"input": ["a"] * 250}, last.came)
    found = await left(app)  # of three tokens each
    assert (50 <= found < 300) if reached else (416 <= found < 650)


async def test_texts_that_fail_cost_nothing(tmp_path: Path) -> None:
    encoder = FakeEncoder(failure=EngineFailed("no"))
    app = create_app(service_of(embedder(encoder), keys=keys(tmp_path, 800)))
    async with client(app) as one:
        assert (await one.post("/v1/embeddings", json={"input": ["a"] * 200})).status_code == 500
    assert await left(app) == 800


async def test_translations_count_by_the_group(tmp_path: Path) -> None:
    engine = FakeTranslator()
    last = Silent(reached=False)

    async def gate() -> None:
        if engine.calls > 1:
            await last()

    engine.gate = gate
    app = create_app(service_of(translator(engine), keys=keys(tmp_path, 1500)))
    texts = [f"{number:03d}" for number in range(130)]  # of four tokens each, and three of the answer
    await leave(app, "/translate", {"q": texts, "source": "en", "target": "de"}, last.came)
    assert 1500 - 128 * 7 <= await left(app) < 1500 - 128 * 5
