"""One process's part of a run inside Locust: sends its share, records it, and says when it is done.

Where there are workers, the master tells each its plan (when the run starts, and which share is its own) before it
starts their users, and ends the run when all have said that they are done. A process alone does both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import gevent
from gevent.lock import RLock
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.arrivals import Arrival
from loadtest.client import Client
from loadtest.clock import RunClock
from loadtest.errors import LoadTestError
from loadtest.outcome import NOTHING
from loadtest.plan import Done, End, Plan, fingerprint, refusal
from loadtest.recorder import FLUSH_S, Recorder
from loadtest.scenario import Closed, Open, Scenario
from loadtest.sender import POLL_S, Sender
from loadtest.workers import Workers, there

LEAD_S = 0.2  # from the start of the test to the run's second 0
LEAD_WORKERS_S = 1.0  # the same where others have to hear of it
SPARE_S = 30.0  # for workers, beyond the scenario's own time
LAST_WORD_S = 5.0  # for workers, when a run is broken off
WRITTEN_S = 60.0
EVERY_S = 3600.0  # a run by hand ends by hand


def as_it_was(scenario: Scenario, users: int, seconds: float) -> Scenario:
    """A run by hand, which is told its users on the web page and lasts until somebody stops it."""
    load = Closed(users=max(1, users))
    return scenario.model_copy(update={"load": load, "duration_s": max(POLL_S, round(seconds, 3))})


class Session:
    """All runs of a process, one after the other. `on_end` is called in the process that writes, with the scenario as
    it ran. `arrivals` are an open loop's."""

    def __init__(
        self,
        environment: Environment,
        scenario: Scenario,
        arrivals: Sequence[Arrival],
        recorder: Recorder,
        on_end: Callable[[Scenario, End], None],
        *,
        by_hand: bool,
    ) -> None:
        self.environment, self.scenario, self.recorder, self.by_hand = environment, scenario, recorder, by_hand
        self._arrivals, self._on_end = arrivals, on_end
        self._work = fingerprint(scenario, arrivals)
        self._plan: Plan | None = None  # of the run that is under way
        self._sender: Sender | None = None
        self._greenlets: list[Any] = []
        self._users = 0
        self.workers: Workers | None = None  # the master's
        self._writing = RLock()

    # The start.
    def make_plan(self) -> None:
        """Where the test is started: this process's own plan, or one for each worker."""
        runner = self.environment.runner
        assert runner is not None
        self._users = runner.target_user_count
        ids = there(runner) if isinstance(runner, MasterRunner) else []
        if words := refusal(self.scenario, len(ids) or 1):
            logging.error(words)
            self.environment.process_exit_code = NOTHING
            self._leave()
            return
        plan = Plan(time.time() + (LEAD_WORKERS_S if ids else LEAD_S), 0, len(ids) or 1, self._work)
        self._plan = plan
        try:
            self.recorder.begin(plan.start_s)
        except OSError as error:
            self._end([Done(plan.start_s, broken=f"The results cannot be written: {error}.")])
            return
        if not isinstance(runner, MasterRunner):
            self.start()
            return
        self.workers = Workers(runner, plan)
        if not self.by_hand:
            self._greenlets = [gevent.spawn(self._await_workers, self.workers)]

    def take_plan(self, data: dict[str, Any]) -> None:
        """A worker's, from the master, who is told what time it is here."""
        self._plan = Plan(**data)
        assert self.environment.runner is not None
        self.environment.runner.send_message("clock", {"told_s": time.time()})

    def start(self) -> None:
        """Here, by the plan; a worker that came too late for one has no part in the run."""
        if self._plan is None:
            return
        if isinstance(self.environment.runner, WorkerRunner):
            self.recorder.begin(self._plan.start_s)
        try:
            self._sender = self._make_sender(self._plan, self.environment.host or "")
        except LoadTestError as error:
            self._end_here(Done(self._plan.start_s, broken=str(error)))
            return
        self._greenlets = [gevent.spawn(self._flush_often)]
        if not self.by_hand:
            self._greenlets.append(gevent.spawn(self._end_in_time, self._sender))

    def _make_sender(self, plan: Plan, host: str) -> Sender:
        if plan.work != self._work and not self.by_hand:
            raise LoadTestError("A worker has another scenario, or other texts, than the master: give it the same.")
        clock = RunClock(plan.start_s)
        assert self.environment.parsed_options is not None
        client = Client(
            host,
            clock,
            timeout_s=self.scenario.timeout_s,
            api_key=self.environment.parsed_options.api_key,  # the master's, by now
            keep_text=self.scenario.keep_text,
        )
        return Sender(self.scenario, self._arrivals, plan, client, clock, self.recorder.add, by_hand=self.by_hand)

    def ask_next(self, scenario: Scenario | None = None) -> bool:
        """A user's next request, of this scenario or another. False where the run is over."""
        while self._sender is None:
            gevent.sleep(POLL_S)
        return self._sender.ask_next(scenario)

    # The end.
    def stopped(self) -> None:
        """The test was stopped: by us, or by somebody before its end."""
        if self._plan is None:
            return
        stopped_s = time.time() - self._plan.start_s
        done = self._halt()
        if self.workers is not None:
            self._end(self.workers.stop(LAST_WORD_S), stopped_s)
        elif done is not None:
            self._end_here(done, stopped_s)

    def written(self) -> None:
        """Returns when a run that is being written is written."""
        if self._writing.acquire(timeout=WRITTEN_S):
            self._writing.release()

    def _flush_often(self) -> None:
        while True:
            gevent.sleep(FLUSH_S)
            self._flush()

    def _flush(self) -> None:
        try:
            self.recorder.flush()
        except Exception:  # a full disk: the run ends all the same, and misses these records
            logging.exception("Records were lost.")

    def _end_in_time(self, sender: Sender) -> None:
        sender.wait()
        if (done := self._halt()) is not None:
            self._end_here(done)

    def _await_workers(self, workers: Workers) -> None:
        self._end(workers.wait(LEAD_WORKERS_S + self.scenario.total_s + self.scenario.timeout_s + SPARE_S))

    def _halt(self) -> Done | None:
        """Ends what runs here, and passes on what was recorded."""
        for one in self._greenlets:
            if one is not gevent.getcurrent():
                one.kill()
        self._greenlets = []
        sender, self._sender = self._sender, None
        done = sender.stop() if sender is not None else None
        self._flush()
        return done

    def _end_here(self, done: Done, stopped_s: float | None = None) -> None:
        runner = self.environment.runner
        if isinstance(runner, WorkerRunner):
            self._plan = None
            runner.send_message("done", asdict(done))
        else:
            self._end([done], stopped_s)

    def _end(self, done: Sequence[Done], stopped_s: float | None = None) -> None:
        """Whatever goes wrong here, the test ends."""
        plan, self._plan = self._plan, None
        if plan is None:
            return
        seconds = time.time() - plan.start_s if stopped_s is None else max(0.0, stopped_s)
        planned = len(self._arrivals) if isinstance(self.scenario.load, Open) else None
        broken_off = None if stopped_s is None or self.by_hand else seconds
        scenario = as_it_was(self.scenario, self._users, seconds) if self.by_hand else self.scenario
        try:
            with self._writing:
                self._on_end(scenario, End(plan.start_s, plan.workers, done, planned, broken_off))
        except Exception:
            logging.exception("The run's files could not be written.")
            self.environment.process_exit_code = NOTHING
        finally:
            self._leave()

    def _leave(self) -> None:
        """On the web page one may look at the figures and start again."""
        runner = self.environment.runner
        assert runner is not None
        gevent.spawn(runner.stop if self.environment.web_ui is not None else runner.quit)
