from __future__ import annotations

import time
from typing import Any

import pytest

from loadtest import sender
from loadtest.client import Client
from loadtest.clock import RunClock
from loadtest.plan import Plan, prepared
from loadtest.record import Record
from loadtest.scenario import Closed, Load, Open, Requests, Scenario
from loadtest.sender import Sender
from loadtest.workload import Ask, ask
from tests.loadtest.conftest import Timed


def make(url: str, load: Load, kept: list[Record]) -> Sender:
    """Of half a second, that begins at once."""
    request = Requests(kind="classify", model="delay=0.01")
    scenario = Scenario(name="s", requests=(request,), load=load, warm_up_s=0, duration_s=0.5)
    clock = RunClock(time.time())
    client = Client(url, clock, timeout_s=10)
    plan = Plan(clock.start_s)
    return Sender(scenario, prepared(scenario), plan, client, clock, kept.append, by_hand=False)


def test_what_was_begun_is_what_is_kept(timed_server: Timed) -> None:
    kept: list[Record] = []
    one = make(timed_server.url, Open(arrivals="constant", rate=20), kept)
    one.wait()
    assert (one.stop().sent, sorted(record.number for record in kept)) == (9, list(range(9)))


@pytest.mark.parametrize("load", [Open(arrivals="constant", rate=20), Closed(users=1)])
def test_a_client_that_cannot_go_on_ends_the_run_and_says_why(
    timed_server: Timed, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_three(scenario: Scenario, number: int, *lengths: Any) -> Ask:
        if number == 3:
            raise RuntimeError("no fourth one")
        return ask(scenario, number, *lengths)

    kept: list[Record] = []
    one = make(timed_server.url, load, kept)
    monkeypatch.setattr(sender, "ask", until_three)
    if isinstance(load, Closed):
        while one.ask_next():
            pass
    one.wait()
    done = one.stop()
    assert done.broken == "The client could not go on: RuntimeError: no fourth one"
    assert (done.sent, len(kept)) == (3, 3)
