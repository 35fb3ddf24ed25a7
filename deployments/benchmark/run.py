"""The table's measurement: all servers up, each work asked of one after the other, round after round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cluster.node import available_cores
from deployments.benchmark.agreement import Pair, agreement, pairs
from deployments.benchmark.figures import figures
from deployments.benchmark.harness import Measured, measure, questions
from deployments.benchmark.measured_quality import measured_quality
from deployments.benchmark.peers_http import Peer, files_of, started
from deployments.benchmark.servers import baseline, stageline
from deployments.benchmark.works import Work, callers_for, for_round, scenario_of, users_of
from deployments.cli.fetch import fetch_models
from deployments.settings import Settings
from loadtest.machine import machine
from loadtest.record import Record
from loadtest.scenario import Scenario
from loadtest.workload import PATHS

BASELINE, OPTIMIZED = "baseline", "optimized"
WARM_UP_S = 2.0
_ASK_S = 10.0
VERSIONS = ("torch", "transformers", "ray", "locust")

Measure = Callable[[Scenario, str], Measured]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and against what. `url` and `baseline_url` are servers that run already; `baseline_at_once` is
    how many requests the baseline answers at a time, its replicas. `seconds` of each measurement; None: the scenario's.
    """

    config: Path
    works: tuple[Work, ...]
    scenarios: Path
    rounds: int
    seconds: float | None = None
    url: str | None = None
    baseline_url: str | None = None
    baseline_at_once: int = 1
    peers: tuple[Peer, ...] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """One of those that take turns. `at_once` is how many requests it answers at a time, None: as many as come."""

    name: str
    url: str
    at_once: int | None = None
    change: Callable[[Scenario], Scenario] = lambda scenario: scenario


@dataclass(slots=True)
class Taken:
    """All that was measured of one work on one server."""

    callers: int
    samples: list[dict[str, Any]] = field(default_factory=list)
    records: list[tuple[Scenario, list[Record]]] = field(default_factory=list)  # by round


def bench_table(plan: Plan, settings: Settings, console: Console) -> tuple[dict[str, Any], Mapping[str, list[Record]]]:
    """The result, and each measurement's requests by its name. Raises EngineFailed, ConfigError and LoadTestError."""
    scenarios = {work: scenario_of(work, plan.scenarios, settings) for work in plan.works}
    threads = available_cores()
    paths = fetch_models(settings, console) if plan.url is None or plan.peers else {}
    with ExitStack() as stack:
        servers = []
        for name, given, start in (
            (BASELINE, plan.baseline_url, lambda: baseline(plan.config)),
            (OPTIMIZED, plan.url, lambda: stageline(plan.config)),
        ):
            if given is None:
                console.print(f"Starting {name} ...")
            url = given or stack.enter_context(start())
            servers.append(Server(name, url, plan.baseline_at_once if name == BASELINE else None))
        for peer in plan.peers:
            console.print(f"Starting {peer.name} ...")
            model = files_of(settings, paths)
            ready = stack.enter_context(started(peer, model, threads))
            servers.append(Server(peer.name, ready.url, peer.at_once, ready.change))
        threads_of = {work: baseline_threads(servers[0].url, scenario) for work, scenario in scenarios.items()}
        taken = take_turns(plan, scenarios, servers, console)
    result = {
        "benchmark": "table",
        **machine(VERSIONS),
        "threads": threads,
        "config": plan.config.name,
        "rounds": plan.rounds,
        "works": {
            work.name: {
                "scenario": scenarios[work].model_dump(mode="json"),
                "servers": {
                    name: {
                        "callers": one.callers,
                        "threads": threads_of[work] if name == BASELINE else threads,
                        "variants": variants(one),
                        "samples": one.samples,
                    }
                    for name, one in taken[work].items()
                },
                "other_prompts": other_prompts(taken[work]),
                "agreement": agreement(work.task, common_answers(taken[work])),
                "quality": measured_quality(settings, work.task, variants(taken[work][OPTIMIZED])),
            }
            for work in plan.works
        },
    }
    requests = {
        f"{work.name}-{name}-{turn}": records
        for work in plan.works
        for name, one in taken[work].items()
        for turn, (_, records) in enumerate(one.records, 1)
    }
    return result, requests


def baseline_threads(url: str, scenario: Scenario) -> int | None:
    """With how many threads the baseline does this; None where it is another one that does not say so."""
    try:
        told = httpx.get(f"{url}{PATHS[scenario.requests[0].kind]}", timeout=_ASK_S).raise_for_status().json()
        return int(told["threads"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return None


def take_turns(
    plan: Plan,
    scenarios: Mapping[Work, Scenario],
    servers: list[Server],
    console: Console,
    measure: Measure = measure,
) -> dict[Work, dict[str, Taken]]:
    """Every work on every server that can do it once a round, after a short round that does not count."""
    turns = [(work, server) for work in plan.works for server in servers if _does(server, work)]
    taken: dict[Work, dict[str, Taken]] = {work: {} for work in plan.works}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("warming up", total=(plan.rounds + 1) * len(turns))
        for turn in range(plan.rounds + 1):
            for work, server in turns:
                scenario = server.change(scenarios[work])
                progress.update(
                    bar, description=f"{'round ' + str(turn) if turn else 'warming up'}: {work.name}, {server.name}"
                )
                if not turn:
                    taken[work][server.name] = Taken(_warm_up(plan, scenario, server, measure))
                else:
                    _take(plan, scenario, server, taken[work][server.name], turn, measure)
                progress.advance(bar)
    return taken


def _does(server: Server, work: Work) -> bool:
    """Peers generate, and nothing else."""
    return server.name in (BASELINE, OPTIMIZED) or work.task == "generation"


def _warm_up(plan: Plan, scenario: Scenario, server: Server, measure: Measure) -> int:
    """How many callers the server gets, as its first answers tell."""
    users = users_of(scenario)
    callers = users if server.at_once is None else 1
    found = figures(measure(for_round(scenario, 0, callers, WARM_UP_S), server.url).records)
    if server.at_once is None:
        return users
    return callers_for(users, _seconds(plan, scenario), found["p50_ms"] / 1000, server.at_once)


def _take(plan: Plan, scenario: Scenario, server: Server, taken: Taken, turn: int, measure: Measure) -> None:
    asked = for_round(scenario, turn, taken.callers, _seconds(plan, scenario))
    measured = measure(asked, server.url)
    taken.samples.append({"round": turn, "figures": figures(measured.records), "client": measured.client})
    taken.records.append((asked, measured.records))


def _seconds(plan: Plan, scenario: Scenario) -> float:
    return plan.seconds or scenario.duration_s


def variants(taken: Taken) -> list[str]:
    """Which of Stageline's variants answered."""
    return sorted({record.variant for _, records in taken.records for record in records if record.variant})


def common_answers(taken: Mapping[str, Taken]) -> list[Pair]:
    """What baseline and optimized answered to the same questions, each question once."""
    found: dict[str, Pair] = {}
    for (scenario, theirs), (_, ours) in zip(taken[BASELINE].records, taken[OPTIMIZED].records, strict=True):
        found |= pairs(questions(scenario, [*theirs, *ours]), theirs, ours)
    return list(found.values())


def other_prompts(taken: Mapping[str, Taken]) -> int:
    """How many requests were not of as many tokens to baseline and optimized, as far as they tell."""
    count = 0
    for (_, theirs), (_, ours) in zip(taken[BASELINE].records, taken[OPTIMIZED].records, strict=True):
        known = {record.number: record.prompt_tokens for record in theirs if not record.failure}
        count += sum(known.get(one.number, one.prompt_tokens) != one.prompt_tokens for one in ours if not one.failure)
    return count
