"""Turns of servers that count what they are asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from fastapi import FastAPI, Request, Response

from deployments.benchmark import short_turns
from deployments.benchmark.short_turns import SCRAPE_S, Contender, idle_cores, processor_s, take_round
from deployments.benchmark.works import SCENARIOS
from engine.errors import EngineFailed
from loadtest.scenario import Scenario, load_scenario
from tests.deployments.front_door.servers import serving

BURN = "import time; began = time.process_time()\nwhile time.process_time() - began < 0.3: pass"


class Counting:
    """Answers all but each tenth request, where that is asked for."""

    def __init__(self, stack: ExitStack, name: str, key: str = "", every_tenth_fails: bool = False) -> None:
        self.asked: list[bytes] = []
        self.keys: set[str] = set()
        self.reads = 0
        app = FastAPI()

        @app.post("/classify")
        async def classify(request: Request) -> Response:
            self.asked.append(await request.body())
            self.keys.add(request.headers.get("authorization", ""))
            return Response(status_code=503 if every_tenth_fails and len(self.asked) % 10 == 0 else 200)

        @app.get("/metrics")
        async def metrics() -> None:
            self.reads += 1

        self.contender = Contender(name, stack.enter_context(serving(app)), os.getpid(), key)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def scenario() -> Scenario:
    return load_scenario(SCENARIOS / "classification-8.yaml")


def test_all_get_the_same_time_and_the_same_requests(stack: ExitStack, scenario: Scenario) -> None:
    servers = [Counting(stack, "one"), Counting(stack, "two", "secret", every_tenth_fails=True)]
    had = take_round([one.contender for one in servers], scenario, 0.7)
    for one in servers:
        found = had[one.contender.name]
        assert found.answers + found.failed == len(one.asked)
        assert 0.7 <= found.seconds < found.elapsed_s
        assert found.processor_s > 0
    assert had["one"].failed == 0
    assert had["two"].failed == len(servers[1].asked) // 10
    both = min(len(one.asked) for one in servers)
    first, second = (Counter(one.asked[:both]) for one in servers)
    assert (first - second).total() <= 2 * 8, "of callers at once, one may be before the other"
    assert [one.keys for one in servers] == [{""}, {"Bearer secret"}]


def test_metrics_are_read_of_whoever_had_enough_turns(stack: ExitStack, scenario: Scenario) -> None:
    servers = [Counting(stack, "plain"), Counting(stack, "new", "secret"), Counting(stack, "old", "secret")]
    for one in servers[::2]:
        one.contender.unread_s = SCRAPE_S
    take_round([one.contender for one in servers], scenario, 0.4)
    assert [one.reads for one in servers] == [0, 0, 1]
    assert servers[2].contender.unread_s < SCRAPE_S


def test_a_server_that_answers_nothing_ends_it(scenario: Scenario) -> None:
    with pytest.raises(EngineFailed, match=r"Nothing of .* was answered by http://127\.0\.0\.1:9"):
        take_round([Contender("gone", "http://127.0.0.1:9", os.getpid())], scenario, 0.1)


def test_processes_that_have_ended_still_count() -> None:
    before = processor_s(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", BURN])
    child.wait(60)
    assert processor_s(os.getpid()) - before >= 0.3


def test_what_a_server_takes_while_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter((3.0, 7.0, 3.5, 7.1))
    monkeypatch.setattr(short_turns, "processor_s", lambda pid: next(spent))
    found = idle_cores([Contender("busy", "", 1), Contender("idle", "", 2)], 0.01)
    assert found["busy"] / found["idle"] == pytest.approx(5.0)
    assert 0 < found["busy"] <= 0.5 / 0.01
