"""The master's side of a run on several processes: what its workers were told, and what they said."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import gevent
from locust.runners import MasterRunner

from loadtest.clock import apart_s
from loadtest.plan import Done, Plan
from loadtest.sender import POLL_S


def there(runner: MasterRunner) -> list[str]:
    """Ids of the workers that are at work, or ready for it."""
    return [one.id for one in runner.clients.values() if one.state in ("ready", "spawning", "running")]


class Workers:
    """Those that are there when a run begins; one that comes later has no part in it."""

    def __init__(self, runner: MasterRunner, plan: Plan) -> None:
        """Tells each its share of the plan."""
        self._runner, self._start_s = runner, plan.start_s
        self._asked_s: dict[str, float] = {}
        self._apart_s: dict[str, float] = {}
        self.done: dict[str, Done] = {}
        for index, one in enumerate(there(runner)):
            self._asked_s[one] = time.time()
            runner.send_message("plan", asdict(replace(plan, worker=index)), one)

    def take_clock(self, worker: str, told_s: float) -> None:
        """A worker's answer to its plan: what time it is there."""
        if (asked_s := self._asked_s.get(worker)) is not None:
            self._apart_s[worker] = apart_s(asked_s, told_s, time.time())

    def take_done(self, worker: str, data: dict[str, Any]) -> None:
        """A worker's word. One that is late for its run is none of the next one."""
        done = Done(**data)
        if done.start_s == self._start_s:
            apart = {"clock_apart_ms": round(1000 * self._apart_s.get(worker, 0.0), 3)}
            self.done[worker] = replace(done, lag={**done.lag, **apart})

    def wait(self, timeout_s: float) -> list[Done]:
        """Until all have said that they are done, but for those that are lost."""
        deadline = time.time() + timeout_s
        while time.time() < deadline and any(
            one in self._asked_s and one not in self.done for one in there(self._runner)
        ):
            gevent.sleep(POLL_S)
        return list(self.done.values())

    def stop(self, timeout_s: float) -> list[Done]:
        """Breaks the run off; their last records come before their word."""
        self._runner.send_message("end")
        return self.wait(timeout_s)
