"""Keeps a number of streams running, asks the same again and again, and compares."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from deployments.bench.faults.reader import READ_TIMEOUT_S, Told, read

CONNECT_S = 10.0
LEAVES_EVERY = 4  # each caller leaves in the middle of every fourth stream
LINES = 20  # of a stream, empty ones included, before it leaves


def client() -> httpx.AsyncClient:
    """For any number of streams at once, each on a connection of its own."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_S), limits=limits)


async def undisturbed(url: str, bodies: Sequence[Mapping[str, Any]]) -> list[Told]:
    """Each body's answer, all asked at once."""
    async with client() as http:
        return await asyncio.gather(*(read(http, url, body) for body in bodies))


class Streams:
    """As many streams as there are bodies, each begun again when it ends, until the end of the context. Now and then a
    caller leaves."""

    def __init__(self, url: str, bodies: Sequence[Mapping[str, Any]]) -> None:
        self.url, self.bodies = url, bodies
        self.told: list[tuple[int, Told]] = []  # with the body's index; those that have ended
        self.left = 0  # whose callers did not wait for the end
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Streams:
        self._http = client()
        self._tasks = [asyncio.create_task(self._run(index)) for index in range(len(self.bodies))]
        return self

    async def __aexit__(self, *error: object) -> None:
        """Lets those that run come to their end."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        await self._http.aclose()

    async def _run(self, index: int) -> None:
        for turn in itertools.count(index):
            if self._stopping.is_set():
                return
            if turn % LEAVES_EVERY == LEAVES_EVERY - 1:
                await read(self._http, self.url, self.bodies[index], leave_after=LINES)
                self.left += 1
                continue
            told = await read(self._http, self.url, self.bodies[index])
            self.told.append((index, told))
            if told.error:
                await asyncio.sleep(1.0)
