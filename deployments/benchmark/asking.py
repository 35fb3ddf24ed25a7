"""Each work asked of each server in turn, round after round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.console import Console

from deployments.benchmark.figures import figures
from deployments.benchmark.harness import Measured, measure
from deployments.benchmark.works import Work, callers_for, for_round, users_of
from loadtest.record import Record
from loadtest.scenario import Scenario
from loadtest.turns import rotated, turns

BASELINE, OPTIMIZED = "baseline", "optimized"
WARM_UP_S = 2.0

Measure = Callable[[Scenario, str], Measured]
Keep = Callable[[str, Sequence[Record]], None]


@dataclass(frozen=True, slots=True)
class Server:
    """One of those that take turns. `at_once` is how many requests it answers at a time, None: as many as come. `tasks`
    are those that it does, None: all."""

    name: str
    url: str
    at_once: int | None = None
    change: Callable[[Scenario], Scenario] = lambda scenario: scenario
    measure: Measure = measure
    tasks: tuple[str, ...] | None = None

    def does(self, work: Work) -> bool:
        return self.tasks is None or work.task in self.tasks


@dataclass(slots=True)
class Taken:
    """All that was measured of one work on one server. `alone_per_s` is its rate with one caller, in the warm-up, where
    it does not answer all at once."""

    callers: int
    alone_per_s: float | None = None
    samples: list[dict[str, Any]] = field(default_factory=list)
    records: list[tuple[Scenario, list[Record]]] = field(default_factory=list)  # by round


AllTaken = Mapping[Work, Mapping[str, Taken]]


def take_turns(
    scenarios: Mapping[Work, Scenario],
    servers: Sequence[Server],
    rounds: int,
    seconds: float | None,
    console: Console,
    keep: Keep = lambda name, records: None,
    after: Callable[[AllTaken], None] = lambda taken: None,
) -> AllTaken:
    """Every work on every server that can do it once a round, after a short round that does not count. `seconds` of
    each measurement; None: the scenario's. `keep` is given each measurement's requests, `after` all that was measured
    when a round is over."""
    pairs = [(work, server) for work in scenarios for server in servers if server.does(work)]
    taken: dict[Work, dict[str, Taken]] = {work: {} for work in scenarios}
    everything = turns(pairs, rounds, console, name=_name, warm_up=True, order=other_servers_first)
    for number, (turn, (work, server)) in enumerate(everything, 1):
        scenario = server.change(scenarios[work])
        duration_s = seconds or scenario.duration_s
        if not turn:
            taken[work][server.name] = _warm_up(scenario, server, duration_s)
            continue
        found = taken[work][server.name]
        asked = for_round(scenario, turn, found.callers, duration_s)
        measured = server.measure(asked, server.url)
        keep(f"{work.name}-{server.name}-{turn}", measured.records)
        found.samples.append({"round": turn, "figures": figures(measured.records), "client": measured.client})
        found.records.append((asked, measured.records))
        if number % len(pairs) == 0:
            after(taken)
    return taken


def other_servers_first(pairs: Sequence[tuple[Work, Server]], turn: int) -> list[tuple[Work, Server]]:
    """Work by work, another server first in each round: who comes second may find a machine that is warmer, or whose
    caches the first one has filled."""
    works = dict.fromkeys(work for work, _ in pairs)
    return [pair for work in works for pair in rotated([one for one in pairs if one[0] == work], turn)]


def _name(pair: tuple[Work, Server]) -> str:
    return f"{pair[0].name}, {pair[1].name}"


def _warm_up(scenario: Scenario, server: Server, seconds: float) -> Taken:
    """How many callers the server gets, as its first answers tell."""
    users = users_of(scenario)
    ask = partial(for_round, scenario, 0, seconds=WARM_UP_S)
    if server.at_once is None:
        figures(server.measure(ask(users), server.url).records)
        return Taken(users)
    found = figures(server.measure(ask(1), server.url).records)
    return Taken(callers_for(users, seconds, found["p50_ms"] / 1000, server.at_once), found["items_per_s"])
