"""Operators' questions about what runs: profiles and stacks."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from deployments.front_door.admin import create_admin_app
from deployments.front_door.app import create_app
from deployments.front_door.middleware import BodyPace
from deployments.front_door.service import Limits
from deployments.profiles.ask import ProfileAsk
from engine.errors import Busy
from tests.deployments.front_door.fakes import FakeEngine, make_service


class Asked:
    def __init__(self) -> None:
        self.asked: list[ProfileAsk] = []
        self.failure: Exception | None = None

    async def profile(self, asked: ProfileAsk) -> bytes:
        self.asked.append(asked)
        if self.failure is not None:
            raise self.failure
        return gzip.compress(b'{"traceEvents": []}')

    async def stacks(self) -> Mapping[str, str]:
        return {"front door": "here", "m:v replica r": "there"}


@pytest.fixture
def asked() -> Asked:
    return Asked()


def admin(asked: Asked | None) -> httpx.AsyncClient:
    ways: dict[str, Any] = {} if asked is None else {"profile": asked.profile, "stacks": asked.stacks}
    door = create_app(make_service(FakeEngine(), **ways)).state.door
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_admin_app(door)), base_url="http://test")


async def test_a_profile_is_a_trace(asked: Asked) -> None:
    async with admin(asked) as client:
        response = await client.post("/admin/profile", json={"seconds": 2.5, "variant": "bf16"})
    assert response.json() == {"traceEvents": []}
    assert asked.asked == [ProfileAsk(2.5, variant="bf16")]


async def test_two_profiles_at_once_are_a_conflict(asked: Asked) -> None:
    asked.failure = Busy("another one is being taken")
    async with admin(asked) as client:
        response = await client.post("/admin/profile", json={})
    assert response.status_code == 409
    assert response.json()["error"]["message"] == "another one is being taken"


@pytest.mark.parametrize("body", [{"seconds": 0}, {"seconds": 31}, {"seconds": "5"}, {"modle": "m"}])
async def test_what_is_not_meant_is_refused(asked: Asked, body: dict[str, Any]) -> None:
    async with admin(asked) as client:
        assert (await client.post("/admin/profile", json=body)).status_code == 400
    assert asked.asked == []


async def test_bodies_are_limited_as_callers_are(asked: Asked) -> None:
    door = create_app(make_service(FakeEngine(), profile=asked.profile, limits=Limits(max_body_bytes=100))).state.door
    app = create_admin_app(door)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        response = await client.post("/admin/profile", json={"model": "m" * 100})
        assert response.status_code == 413
        assert (await client.post("/admin/profile", json={"seconds": 1})).status_code == 200
    assert BodyPace.__name__ in [getattr(one.cls, "__name__", "") for one in app.user_middleware]


async def test_stacks_of_all_processes(asked: Asked) -> None:
    async with admin(asked) as client:
        assert (await client.get("/admin/stacks")).json()["processes"]["m:v replica r"] == "there"
    async with admin(None) as client:
        own = (await client.get("/admin/stacks")).json()["processes"]["front door"]
        assert "Thread MainThread" in own
        assert (await client.post("/admin/profile", json={})).status_code == 500


async def test_callers_cannot_ask() -> None:
    app = create_app(make_service(FakeEngine()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/admin/stacks")).status_code == 404
        assert (await client.post("/admin/profile", json={})).status_code == 404
