"""Sends one process's share of one run, and notes how it went. Each run has its own: nothing of another is in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import gevent
from gevent.pool import Group

from loadtest.arrivals import Arrival, share
from loadtest.client import Client, new_record
from loadtest.clock import RunClock
from loadtest.lag import LagMeter
from loadtest.plan import Done, Plan
from loadtest.record import Record
from loadtest.scenario import Closed, Open, Scenario
from loadtest.workload import Ask, ask

POLL_S = 0.02
TEXTS_KEPT = 32  # answers of the first requests, to check the server's count of tokens
AFTER_FAILURE_S = 0.1  # a user does not ask a server that refuses at once, and again, as fast as it can
KILL_S = 5.0


class Sender:
    """By the plan. `arrivals` are the whole run's, of an open loop. `keep` gets each record."""

    def __init__(
        self,
        scenario: Scenario,
        arrivals: Sequence[Arrival],
        plan: Plan,
        client: Client,
        clock: RunClock,
        keep: Callable[[Record], None],
        *,
        by_hand: bool,
    ) -> None:
        self._scenario, self._plan, self._client, self._clock = scenario, plan, client, clock
        self._keep, self._by_hand = keep, by_hand
        self._lag = LagMeter()
        self._sent = 0
        self._open = 0  # requests under way
        self._broken = ""
        self._requests = Group()
        self._lag.start()
        due = share(arrivals, plan.worker, plan.workers) if isinstance(scenario.load, Open) else []
        self._planned = gevent.spawn(self._send_planned, due)

    def ask_next(self, scenario: Scenario | None = None) -> bool:
        """Closed loop: a user's next request, of this scenario or another. False where the run is over."""
        while (now := self._clock()) < 0:
            gevent.sleep(POLL_S)
        if self._is_over(now):
            return False
        number = self._next_number()
        try:
            made = ask(scenario or self._scenario, number)
        except Exception as error:
            self._break(error)
            return False
        self._sent, self._open = self._sent + 1, self._open + 1
        if self._send(made, now):
            gevent.sleep(AFTER_FAILURE_S)
        return True

    def wait(self) -> None:
        """For the last request to be sent, and for all to be answered: each of them ends in the scenario's time."""
        self._planned.join()
        while self._open or not self._is_over(self._clock()):
            gevent.sleep(POLL_S)

    def stop(self) -> Done:
        """Ends what is under way, which is recorded as unfinished."""
        self._planned.kill(timeout=KILL_S)
        self._requests.kill(timeout=KILL_S)
        self._lag.stop()
        self._client.connections.close()
        return Done(self._plan.start_s, self._sent, self._lag.facts(), self._broken)

    def _next_number(self) -> int:
        return self._plan.worker + self._sent * self._plan.workers

    def _is_over(self, now: float) -> bool:
        if self._broken or self._by_hand:
            return bool(self._broken)
        load = self._scenario.load
        most = load.requests if isinstance(load, Closed) else None
        return now >= self._scenario.total_s or (most is not None and self._next_number() >= most)

    def _send_planned(self, due: Sequence[Arrival]) -> None:
        try:
            for arrival in due:
                made = ask(self._scenario, arrival.number, arrival.prompt_tokens, arrival.output_tokens)
                if (wait_s := arrival.at_s - self._clock()) > 0:
                    gevent.sleep(wait_s)
                self._sent, self._open = self._sent + 1, self._open + 1  # here: before its greenlet begins
                self._requests.spawn(self._send, made, arrival.at_s)
        except Exception as error:
            self._break(error)

    def _send(self, made: Ask, scheduled_s: float) -> bool:
        """Whether the request failed."""
        record = new_record(made, scheduled_s)
        record.worker = self._plan.worker
        try:
            self._client.exchange(made, record, keep_text=made.number < TEXTS_KEPT)
        finally:
            self._open -= 1
            self._keep(record)
        return bool(record.failure)

    def _break(self, error: Exception) -> None:
        """The run is worthless: it ends, and says why."""
        logging.exception("The load cannot go on.")
        self._broken = f"The client could not go on: {type(error).__name__}: {error}"
