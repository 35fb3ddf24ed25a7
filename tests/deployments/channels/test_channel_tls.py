"""Channels over TLS, with real certificates and sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployments.channels.channel import ChannelLost, connect
from deployments.channels.server import CallServer
from tests.cluster.certificates import Authority, Certificate

HOST = "127.0.0.1"


async def answer(asked: Any) -> AsyncIterator[Any]:
    for number in range(asked):
        yield number, b"x" * 10_000


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Authority(tmp_path_factory.mktemp("tls") / "ours").sign("node")


@pytest.fixture
async def server(ours: Certificate, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CallServer]:
    ours.use(monkeypatch)
    server = CallServer("r", answer)
    await server.doorway(HOST)
    async with asyncio.timeout(60):
        yield server
        await server.close()


async def test_calls(server: CallServer) -> None:
    channel = await connect(await server.doorway(HOST), lambda _: None)
    calls = [channel.call(30) for _ in range(5)]
    for call in calls:
        assert [(await call.next())[0] for _ in range(30)] == list(range(30))
    channel.close()


async def test_a_stranger_is_refused(
    server: CallServer, monkeypatch: pytest.MonkeyPatch, ours: Certificate, tmp_path: Path
) -> None:
    doorway = await server.doorway(HOST)  # it even knows the secret
    stranger = Authority(tmp_path / "theirs").sign("stranger")
    stranger.use(monkeypatch)
    with pytest.raises(ChannelLost, match=r"replica r .*its certificate does not hold here"):
        await connect(doorway, lambda _: None)
    monkeypatch.setenv("RAY_TLS_CA_CERT", str(ours.authority))
    with pytest.raises(ChannelLost):
        await connect(doorway, lambda _: None)
    assert not server.connections


async def test_both_ends_have_it_or_none(server: CallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    doorway = await server.doorway(HOST)
    plain = CallServer("p", answer)
    with monkeypatch.context() as patched:
        patched.delenv("RAY_USE_TLS")
        plain_doorway = await plain.doorway(HOST)
        patched.setattr("deployments.channels.handshake.SECONDS", 1.0)
        with pytest.raises(ChannelLost):
            await connect(doorway, lambda _: None)
    with pytest.raises(ChannelLost, match="it speaks no TLS"):
        await connect(plain_doorway, lambda _: None)
    await plain.close()
