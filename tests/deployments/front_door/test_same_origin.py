"""Foreign web pages: what a browser tells of them, and that they get nothing."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from deployments.access.keys import digest_of
from deployments.access.ring import KeyFile
from deployments.front_door.admin import create_admin_app
from deployments.front_door.app import create_app
from deployments.front_door.same_origin import from_foreign_page, has_own_name
from tests.deployments.front_door.encoder_fakes import client_of
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.translation_fakes import FakeTranslator, translator

BODY = b'{"model": "tiny", "prompt": "Hi"}'
ELSEWHERE = "https://elsewhere.example"


def headers(**named: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8000", "127.0.0.1", "127.0.0.1:8000", "127.8.9.10:1", "[::1]", "[::1]:8000"],
)
def test_own_names(host: str) -> None:
    assert has_own_name(headers(host=host))


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "evil-localhost"),
        *("", "128.0.0.1", "10.0.0.1:8000", "0.0.0.0", "[::]", "[::2]:80", "::1", "localhost:8000@evil.example"),
        *("evil@localhost", "localhost:x", "127.0.0", "127.0.0.1, evil.example", "localhost\n", "127.0.0.1:8000 "),
    ],
)
def test_foreign_names(host: str) -> None:
    assert not has_own_name(headers(host=host))


def test_every_host_counts_and_none_is_no_browsers() -> None:
    assert not has_own_name([*headers(host="localhost"), *headers(host="evil.example")])
    assert has_own_name([])


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"origin": "http://h:8000"},
        {"origin": "HTTP://H:8000"},
        {"origin": ELSEWHERE, "sec_fetch_site": "same-origin"},  # behind a proxy that asks by another name
        {"origin": "null", "sec_fetch_site": "none"},
    ],
)
def test_own_pages(named: dict[str, str]) -> None:
    assert not from_foreign_page(headers(host="h:8000", **named))


@pytest.mark.parametrize(
    "named",
    [
        {"origin": ELSEWHERE},
        {"origin": "http://h:8001"},  # another port is another origin
        {"origin": "http://h"},
        {"origin": "null"},  # a frame in a sandbox, a file
        {"origin": ""},
        {"origin": "h:8000"},
        {"origin": "http://"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": ""},
        {"origin": "http://h:8000", "sec_fetch_site": "cross-site"},
    ],
)
def test_foreign_pages(named: dict[str, str]) -> None:
    assert from_foreign_page(headers(host="h:8000", **named))


def test_the_port_of_a_scheme_may_be_named() -> None:
    assert not from_foreign_page(headers(host="h:443", origin="https://h"))
    assert not from_foreign_page(headers(host="h:80", origin="http://h"))
    assert from_foreign_page(headers(host="h:80", origin="https://h"))
    assert from_foreign_page(headers(origin="http://h"))
    assert from_foreign_page([*headers(host="h", origin="http://h"), *headers(origin=ELSEWHERE)])


def client(app: FastAPI, address: str = "http://test") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=address)


@pytest.mark.parametrize("named", [{"Origin": ELSEWHERE}, {"Sec-Fetch-Site": "cross-site"}])
async def test_a_foreign_page_gets_nothing_done(named: dict[str, str]) -> None:
    engine = FakeEngine()
    app = create_app(make_service(engine))
    async with client(app) as callers, client(create_admin_app(app.state.door)) as operators:
        for answer in (
            await callers.post("/v1/completions", content=BODY, headers=named),  # no type: what a browser sends unasked
            await callers.put("/v1/completions", content=BODY, headers=named),
            await operators.post("/admin/profile", content=b"{}", headers=named),
        ):
            error = answer.json()["error"]
            assert (answer.status_code, error["type"]) == (403, "PermissionDeniedError")
            assert (error["code"], error["param"]) == ("foreign_origin", None)
            assert "page of another origin" in error["message"]
            assert "x-request-id" in answer.headers
            assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert engine.requests == []
        assert (await callers.get("/v1/models", headers=named)).status_code == 200
        assert (await callers.post("/v1/completions", content=BODY)).status_code == 200
        own = {"Origin": "http://test", "Sec-Fetch-Site": "same-origin"}
        assert (await callers.post("/v1/completions", content=BODY, headers=own)).status_code == 200


async def test_nor_does_a_form() -> None:
    engine = FakeTranslator()
    async with client_of(translator(engine)) as callers:
        form = {"q": "One", "source": "en", "target": "de"}
        assert (await callers.post("/translate", data=form, headers={"Origin": "null"})).status_code == 403
        assert engine.calls == 0
        assert (await callers.post("/translate", data=form)).status_code == 200


async def test_a_foreign_name_gets_nothing_at_all() -> None:
    engine = FakeEngine()
    app = create_app(make_service(engine, own_names=True))
    admin = create_admin_app(app.state.door)
    for door, path in ((app, "/v1/models"), (app, "/health"), (app, "/console"), (admin, "/admin/requests")):
        async with client(door, "http://evil.example:8000") as there:
            answer = await there.get(path, headers={"Sec-Fetch-Site": "same-origin"})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (403, "foreign_origin")
        assert "stageline keys new" in error["message"]
        assert "http.without_keys" in error["message"]
        for name in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
            async with client(door, f"http://{name}") as here:
                assert (await here.get(path)).status_code == 200
    async with client(app, "http://evil.example:8000") as there:
        own = {"Origin": "http://evil.example:8000"}
        assert (await there.post("/v1/completions", content=BODY, headers=own)).status_code == 403
    assert engine.requests == []


async def test_where_keys_are_asked_for_they_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(f"keys: [{{name: mine, sha256: {digest_of(b'mine').hex()}, models: ['*']}}]")
    app = create_app(make_service(FakeEngine(), keys=KeyFile(path)))
    async with client(app, "http://llm.example") as callers:
        for named, status in (
            ({}, 401),
            ({"Origin": ELSEWHERE}, 401),
            ({"Authorization": "Bearer mine"}, 200),
            ({"Authorization": "Bearer mine", "Origin": ELSEWHERE}, 200),
        ):
            answer = await callers.post("/v1/completions", content=BODY, headers=named)
            assert answer.status_code == status
