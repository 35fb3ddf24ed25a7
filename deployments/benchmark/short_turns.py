"""Servers that are asked in short turns, one after the other and again, so that a slow moment of the machine is all
servers'. Of each it is known how fast it answered in its turns, and how long its processes had a core for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import count, cycle
from urllib.parse import urlsplit

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
    a core (`processor_s`)."""

    answers: int = 0
    failed: int = 0
    seconds: float = 0.0
    elapsed_s: float = 0.0
    processor_s: float = 0.0


def take_round(contenders: Sequence[Contender], scenario: Scenario, seconds: float) -> dict[str, Had]:
    """As many turns as give each server `seconds`, each with the same requests. By name. Raises EngineFailed for a
    server that answers nothing."""
    had = {one.name: Had() for one in contenders}
    before = {one.name: processor_s(one.pid) for one in contenders}
    began = time.monotonic()
    _take_turns(contenders, scenario, seconds, had)
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


class _Caller:
    """One of those that ask at once, with a connection to each server that it keeps. http.client, since what takes the
    client long takes it from the servers."""

    def __init__(self) -> None:
        self._connections: dict[str, HTTPConnection] = {}

    def asks(self, server: Contender, method: str, path: str, body: bytes | None = None) -> bool:
        """Whether it is answered, with 200."""
        connection = self._connections.get(server.url)
        if connection is None:
            address = urlsplit(server.url)
            connection = HTTPConnection(address.hostname or "", address.port, timeout=_ANSWER_S)
            self._connections[server.url] = connection
        headers = {"Content-Type": "application/json"}
        if server.key:
            headers["Authorization"] = f"Bearer {server.key}"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            connection.close()  # the next request makes another one
            return False
        return answer.status == 200

    def close(self) -> None:
        for one in self._connections.values():
            one.close()


def _take_turns(contenders: Sequence[Contender], scenario: Scenario, seconds: float, had: dict[str, Had]) -> None:
    assert isinstance(scenario.load, Closed)
    with ExitStack() as stack:
        callers = [stack.enter_context(closing(_Caller())) for _ in range(scenario.load.users)]
        reader = stack.enter_context(closing(_Caller()))
        pool = stack.enter_context(ThreadPoolExecutor(len(callers) + 1))
        for server in cycle(contenders):
            if min(one.seconds for one in had.values()) >= seconds:
                return
            _take_turn(pool, callers, reader, server, scenario, had[server.name])


def _take_turn(
    pool: ThreadPoolExecutor,
    callers: Sequence[_Caller],
    reader: _Caller,
    server: Contender,
    scenario: Scenario,
    had: Had,
) -> None:
    numbers = count(had.answers + had.failed)  # each of them once: `next` of it is one step for all threads
    began = time.monotonic()

    def calls(caller: _Caller) -> list[bool]:
        found: list[bool] = []
        while not found or time.monotonic() - began < TURN_S:
            asked = ask(scenario, next(numbers))
            found.append(caller.asks(server, "POST", asked.path, asked.body))
        return found

    reads = bool(server.key) and server.unread_s >= SCRAPE_S
    reading = pool.submit(reader.asks, server, "GET", "/metrics") if reads else None
    for answered in pool.map(calls, callers):
        had.answers += sum(answered)
        had.failed += len(answered) - sum(answered)
    took_s = time.monotonic() - began
    had.seconds += took_s
    server.unread_s = took_s if reads else server.unread_s + took_s
    if reading is not None:
        reading.result()
