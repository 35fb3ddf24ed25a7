"""The plan of a run, and how it went: what its processes tell each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from loadtest.arrivals import Arrival, schedule
from loadtest.scenario import Closed, Open, Scenario
from loadtest.workload import ask, texts


@dataclass(frozen=True, slots=True)
class Plan:
    """From `start_s` on, a Unix time. `worker` is this process's index among `workers`; `work` is the fingerprint of
    what they send together."""

    start_s: float
    worker: int = 0
    workers: int = 1
    work: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """One process at its end, of the plan with this `start_s`. `sent` counts the requests that it began, `lag` are the
    facts of its loop, and `broken` says why it could not send its share; "" where it could."""

    start_s: float
    sent: int = 0
    lag: dict[str, float] = field(default_factory=dict)
    broken: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended. `planned` counts the requests of an open loop; None where answers decide how many there are.
    `stopped_s`: seconds after the start at which somebody broke it off."""

    start_s: float
    workers: int
    done: Sequence[Done]
    planned: int | None = None
    stopped_s: float | None = None


def prepared(scenario: Scenario) -> list[Arrival]:
    """The arrivals of an open loop. Whatever the requests need is read here, before the run and not in it. Raises
    LoadTestError for a trace or texts that cannot be read."""
    for one in scenario.requests:
        ask(scenario.model_copy(update={"requests": (one,)}), 0)
    return schedule(scenario.load, scenario.total_s, scenario.seed) if isinstance(scenario.load, Open) else []


def refusal(scenario: Scenario, workers: int) -> str:
    """Why so many processes cannot share this load; "" where they can."""
    load = scenario.load
    if isinstance(load, Closed) and load.requests is not None and load.users % workers:
        return (
            f"`users: {load.users}` cannot share {load.requests} requests evenly in {workers} processes: "
            "take a number of processes by which the users can be divided."
        )
    return ""


def fingerprint(scenario: Scenario, arrivals: Sequence[Arrival]) -> str:
    """The same wherever the same would be sent; files may lie elsewhere. Raises LoadTestError for texts that cannot be
    read."""
    files: dict[str, Any] = {"requests": {"__all__": {"texts"}}, "load": {"trace"}}
    traced = [astuple(one) for one in arrivals] if isinstance(scenario.load, Open) and scenario.load.trace else []
    given = [texts(one.texts) for one in scenario.requests if one.texts is not None]
    told = json.dumps([scenario.model_dump(mode="json", exclude=files), traced, given])
    return hashlib.sha256(told.encode()).hexdigest()
