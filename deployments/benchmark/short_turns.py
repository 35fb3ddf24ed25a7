"""Servers that are asked in short turns, one after the other and again, so that a slow moment of the machine is all
servers'. Of each it is known how fast it answered in its turns, and how long its processes had a core for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx
import psutil

from engine.errors import EngineFailed
from loadtest.scenario import Closed, Scenario
from loadtest.workload import ask

TURN_S = 0.3  # callers ask again for so long, and the turn is over when all have been answered
SCRAPE_S = 15.0  # as k8s/components/monitoring has it
_ANSWER_S = 300.0


@dataclass(slots=True)
class Contender:
    """A server and the process that everything of it is below. One that wants a `key` has its metrics read, whenever
    it has had `SCRAPE_S` of turns."""

    name: str
    url: str
    pid: int
    key: str = ""
    unread_s: float = 0.0


@dataclass(slots=True)
class Had:
    """What a server had of a round: answers, requests that failed, and seconds of its turns, of all that passed, and of
    a core."""

    answers: int = 0
    failed: int = 0
    seconds: float = 0.0
    elapsed_s: float = 0.0
    processor_s: float = 0.0


def take_round(contenders: Sequence[Contender], scenario: Scenario, seconds: float, first: int = 0) -> dict[str, Had]:
    """As many turns as give each server `seconds`, each with the same requests; `first` begins. By name. Raises
    EngineFailed for a server that answers nothing."""
    had = {one.name: Had() for one in contenders}
    before = {one.name: processor_s(one.pid) for one in contenders}
    began = time.monotonic()
    asyncio.run(_take_turns(contenders, scenario, seconds, first, had))
    elapsed_s = time.monotonic() - began
    for one in contenders:
        if not had[one.name].answers:
            raise EngineFailed(f"Nothing of {scenario.name} was answered by {one.url}: see what its log says.")
        had[one.name].elapsed_s = elapsed_s
        had[one.name].processor_s = processor_s(one.pid) - before[one.name]
    return had


def idle_cores(contenders: Sequence[Contender], seconds: float) -> dict[str, float]:
    """How many cores each server takes while nobody asks anything. By name."""
    before = {one.name: processor_s(one.pid) for one in contenders}
    began = time.monotonic()
    time.sleep(seconds)
    elapsed_s = time.monotonic() - began
    return {one.name: (processor_s(one.pid) - before[one.name]) / elapsed_s for one in contenders}


def processor_s(pid: int) -> float:
    """How long a process and all below it have had a core, with those that have ended and were waited for."""
    process, found = psutil.Process(pid), 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found += sum(one.cpu_times()[:4])  # user, system, and both of children that have ended
    return found


async def _take_turns(
    contenders: Sequence[Contender], scenario: Scenario, seconds: float, first: int, had: dict[str, Had]
) -> None:
    assert isinstance(scenario.load, Closed)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=_ANSWER_S, limits=limits) as client:
        turn = first
        while min(one.seconds for one in had.values()) < seconds:
            contender = contenders[turn % len(contenders)]
            await _take_turn(client, contender, scenario, scenario.load.users, had[contender.name])
            turn += 1


async def _take_turn(client: httpx.AsyncClient, server: Contender, scenario: Scenario, users: int, had: Had) -> None:
    headers = {"Content-Type": "application/json"}
    if server.key:
        headers["Authorization"] = f"Bearer {server.key}"
    numbers = iter(range(had.answers + had.failed, 1 << 62))
    began = time.monotonic()

    async def calls() -> None:
        while True:
            asked = ask(scenario, next(numbers))
            try:
                answer = await client.post(f"{server.url}{asked.path}", content=asked.body, headers=headers)
                failed = answer.status_code != 200
            except httpx.HTTPError:
                failed = True
            had.answers += not failed
            had.failed += failed
            if time.monotonic() - began > TURN_S:
                return

    async def reads() -> None:
        with suppress(httpx.HTTPError):
            await client.get(f"{server.url}/metrics", headers=headers)

    reading = [reads()] if server.key and server.unread_s >= SCRAPE_S else []
    await asyncio.gather(*reading, *(calls() for _ in range(users)))
    took_s = time.monotonic() - began
    had.seconds += took_s
    server.unread_s = took_s if reading else server.unread_s + took_s
