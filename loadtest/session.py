"""One process's part of a run inside Locust: sends its share, records it, and says when it is done.

Where there are workers, the master tells each its plan (when the run starts, and which share is its own) before it
starts their users, and ends the run when all have said that they are done. A process alone does both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.arrivals import schedule, share
from loadtest.client import Client
from loadtest.clock import RunClock
from loadtest.lag import LagMeter
from loadtest.recorder import FLUSH_S, Recorder
from loadtest.scenario import Closed, Open, Scenario
from loadtest.workload import Ask, ask

LEAD_S = 0.2  # from the start of the test to the run's second 0
LEAD_WORKERS_S = 1.0  # the same where others have to hear of it
POLL_S = 0.02
TEXTS_KEPT = 32  # answers of the first requests, to check the server's count of tokens
AFTER_FAILURE_S = 0.1  # a user does not ask a server that refuses at once, and again, as fast as it can
EVERY_S = 3600.0  # a run by hand ends by hand


def as_it_was(scenario: Scenario, users: int, seconds: float) -> Scenario:
    """A run by hand, which is told its users on the web page and lasts until somebody stops it."""
    load = Closed(users=max(1, users))
    return scenario.model_copy(update={"load": load, "duration_s": max(POLL_S, round(seconds, 3))})


@dataclass(frozen=True, slots=True)
class Plan:
    """`worker` is this process's index among `workers`."""

    start_s: float
    worker: int = 0
    workers: int = 1


class Session:
    """From one start of a test to its stop. `on_end` is called, in the process that writes, with the facts of each
    process's lag."""

    def __init__(
        self,
        environment: Environment,
        scenario: Scenario,
        recorder: Recorder,
        api_key: str,
        on_end: Callable[[float, list[dict[str, float]]], None],
        by_hand: bool,
    ) -> None:
        self.environment, self.scenario, self.recorder = environment, scenario, recorder
        self._api_key, self._on_end, self.by_hand = api_key, on_end, by_hand
        self.plan: Plan | None = None
        self._client: Client | None = None
        self._clock: RunClock | None = None
        self._lag = LagMeter()
        self._sent = 0
        self._open = 0  # requests under way
        self._users = 0
        self._greenlets: list[Any] = []
        self._done: dict[str, dict[str, float]] = {}

    # The start, in each process.
    def make_plan(self) -> None:
        """Where the test is started: this process's own, or one for each worker."""
        runner = self.environment.runner
        self._users = runner.target_user_count if runner is not None else 0
        if isinstance(runner, MasterRunner):
            self._done = {}
            workers = [one for one in runner.clients.values() if one.state in ("ready", "spawning", "running")]
            self.plan = Plan(time.time() + LEAD_WORKERS_S, 0, len(workers))
            for index, one in enumerate(workers):
                runner.send_message("plan", asdict(Plan(self.plan.start_s, index, len(workers))), one.id)
            self._greenlets = [gevent.spawn(self._await_workers, runner)]
        elif not isinstance(runner, WorkerRunner):
            self.plan = Plan(time.time() + LEAD_S)
            self.start()

    def start(self) -> None:
        """Here, by the plan."""
        assert self.plan is not None
        assert self.environment.host is not None
        self.stop()
        self._sent = self._open = 0
        self._clock = RunClock(self.plan.start_s)
        self._client = Client(
            self.environment.host,
            self._clock,
            timeout_s=self.scenario.timeout_s,
            api_key=self._api_key,
            keep_text=self.scenario.keep_text,
        )
        self._lag.start()
        self._greenlets = [gevent.spawn(self._flush_often)]
        if isinstance(self.scenario.load, Open):
            self._greenlets.append(gevent.spawn(self._send_planned, self.scenario.load))
        if not self.by_hand:
            self._greenlets.append(gevent.spawn(self._end_in_time))

    def stop(self) -> None:
        """Ends what runs here, and passes on what was recorded."""
        for one in self._greenlets:
            if one is not gevent.getcurrent():
                one.kill()
        self._greenlets = []
        self._lag.stop()
        self.recorder.flush()
        if self._client is not None:
            self._client.connections.close()
            self._client = None

    # Closed loop: what a user does.
    def ask_next(self, scenario: Scenario | None = None) -> bool:
        """The next request, of this scenario or another. False where the run is over."""
        while self._clock is None or (now := self._clock()) < 0:
            gevent.sleep(POLL_S)
        assert self.plan is not None
        number = self.plan.worker + self._sent * self.plan.workers
        if self._over(now, number):
            return False
        self._sent += 1
        if self._send(ask(scenario or self.scenario, number), now):
            gevent.sleep(AFTER_FAILURE_S)
        return True

    def _over(self, now: float, number: int) -> bool:
        load = self.scenario.load
        most = load.requests if isinstance(load, Closed) else None
        return not self.by_hand and (now >= self.scenario.total_s or (most is not None and number >= most))

    # Open loop.
    def _send_planned(self, load: Open) -> None:
        assert self._clock is not None
        assert self.plan is not None
        arrivals = schedule(load, self.scenario.total_s, self.scenario.seed)
        for arrival in share(arrivals, self.plan.worker, self.plan.workers):
            made = ask(self.scenario, arrival.number, arrival.prompt_tokens, arrival.output_tokens)
            if (wait_s := arrival.at_s - self._clock()) > 0:
                gevent.sleep(wait_s)
            self._open += 1  # here: a greenlet that has not begun counts as well
            gevent.spawn(self._send, made, arrival.at_s, counted=True)

    def _send(self, made: Ask, scheduled_s: float, counted: bool = False) -> bool:
        """Whether the request failed."""
        if self._client is None or self.plan is None:
            return True
        if not counted:
            self._open += 1
        try:
            record = self._client.send(made, scheduled_s, keep_text=made.number < TEXTS_KEPT)
        finally:
            self._open -= 1
        record.worker = self.plan.worker
        self.recorder.add(record)
        return bool(record.failure)

    # The end.
    def _flush_often(self) -> None:
        while True:
            gevent.sleep(FLUSH_S)
            self.recorder.flush()

    def _end_in_time(self) -> None:
        """Waits for the last request to be sent and for all to be answered."""
        assert self._clock is not None
        assert self.plan is not None
        while not self._over(self._clock(), self.plan.worker + self._sent * self.plan.workers):
            gevent.sleep(POLL_S)
        while self._open:  # each of them ends in the scenario's time
            gevent.sleep(POLL_S)
        facts = self._lag.facts()
        self.stop()
        runner = self.environment.runner
        if isinstance(runner, WorkerRunner):
            runner.send_message("done", facts)
        else:
            self._finish([facts])

    def _await_workers(self, runner: MasterRunner) -> None:
        assert self.plan is not None
        deadline = time.time() + LEAD_WORKERS_S + self.scenario.total_s + self.scenario.timeout_s + 30.0
        while not self.by_hand and len(self._done) < min(self.plan.workers, runner.worker_count):
            if time.time() > deadline:
                break
            gevent.sleep(POLL_S)
        if not self.by_hand:
            self._finish(list(self._done.values()))

    def take_done(self, worker: str, facts: dict[str, float]) -> None:
        """A worker's word."""
        self._done[worker] = facts

    def stopped(self) -> None:
        """Someone stopped the test."""
        facts = self._lag.facts()
        self.stop()
        if self.by_hand and self.plan is not None and not isinstance(self.environment.runner, WorkerRunner):
            self.scenario = as_it_was(self.scenario, self._users, time.time() - self.plan.start_s)
            self._on_end(self.plan.start_s, list(self._done.values()) or [facts])

    def _finish(self, facts: list[dict[str, float]]) -> None:
        assert self.plan is not None
        self._on_end(self.plan.start_s, facts)
        runner = self.environment.runner
        assert runner is not None
        # On the web page one may look at the figures and start again.
        gevent.spawn(runner.stop if self.environment.web_ui is not None else runner.quit)
