"""Clients of a front door over a fake engine: in process, and over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from deployments.front_door.app import create_app
from tests.deployments.front_door.fakes import FakeEngine, make_service
from tests.deployments.front_door.servers import serving


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def client(engine: FakeEngine) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(make_service(engine)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
def address(engine: FakeEngine) -> Iterator[str]:
    with serving(create_app(make_service(engine))) as address:
        yield address
