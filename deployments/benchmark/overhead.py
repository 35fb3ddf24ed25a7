"""What it costs to see inside and to keep out: servers with all of it on, and with all of it of every request, against
one with none, in short turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from deployments.benchmark.everything_on import collector, everything_on
from deployments.benchmark.kept import Kept
from deployments.benchmark.metrics_cost import metrics_cost
from deployments.benchmark.overhead_costs import EVERY, OFF, ON, SERVERS
from deployments.benchmark.servers import configuration, stageline
from deployments.benchmark.short_turns import Contender, idle_cores, take_round
from deployments.benchmark.stored import scenario_kept
from deployments.benchmark.works import WORKS, Work, first_of, for_round, scenario_of, users_of
from deployments.cli.fetch import fetch_models
from deployments.settings import Settings
from loadtest.scenario import Scenario
from loadtest.turns import turns

MEASURED = ("generation", "classification-8", "translation")
WARM_UP_S, IDLE_S = 2.0, 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` of each server in a round."""

    scenarios: Path
    rounds: int
    seconds: float


def bench_overhead(plan: Plan, settings: Settings, console: Console, kept: Kept) -> None:
    """Keeps the result after each round. Raises EngineFailed, ConfigError and LoadTestError."""
    works = [work for work in WORKS if work.name in MEASURED]
    scenarios = {work: scenario_of(work, plan.scenarios, settings) for work in works}
    models = tuple(first_of(settings, work.task) for work in works)
    plain = settings.model_copy(update={"models": models})
    fetch_models(plain, console)
    metrics = asdict(metrics_cost())
    with ExitStack() as stack:
        contenders = list(_servers(plain, stack, console))
        for work in works:
            take_round(contenders, _asked(scenarios[work], 0, WARM_UP_S), WARM_UP_S)
        idle = idle_cores(contenders, IDLE_S)
        samples: dict[Work, dict[str, list[dict[str, Any]]]] = {
            work: {one.name: [] for one in contenders} for work in works
        }
        for turn, work in turns(works, plan.rounds, console, name=lambda work: work.name):
            scenario = _asked(scenarios[work], turn, plan.seconds)
            for name, had in take_round(contenders, scenario, plan.seconds, first=turn).items():
                samples[work][name].append(asdict(had))
            if all(len(found[OFF]) == turn for found in samples.values()):
                kept.result(_result(scenarios, samples, idle, turn, plan) | {"metrics": metrics})


def _asked(scenario: Scenario, turn: int, seconds: float) -> Scenario:
    return for_round(scenario, turn, users_of(scenario), seconds)


def _result(
    scenarios: Mapping[Work, Scenario],
    samples: Mapping[Work, Mapping[str, list[dict[str, Any]]]],
    idle: Mapping[str, float],
    over: int,
    plan: Plan,
) -> dict[str, Any]:
    return {
        "benchmark": "overhead",
        "rounds": over,
        "seconds": plan.seconds,
        "complete": over == plan.rounds,
        "idle_cores": idle,
        "works": {
            work.name: {"scenario": scenario_kept(scenario), "servers": samples[work]}
            for work, scenario in scenarios.items()
        },
    }


def _servers(plain: Settings, stack: ExitStack, console: Console) -> Iterator[Contender]:
    console.print("Starting the server with all of it off ...")
    server = stack.enter_context(stageline(stack.enter_context(configuration(plain))))
    yield Contender(OFF, server.url, server.pid)
    otlp = stack.enter_context(collector())
    for name, every in ((ON, False), (EVERY, True)):
        console.print(f"Starting the server with all of it on{', of every request' if every else ''} ...")
        folder = Path(stack.enter_context(TemporaryDirectory()))
        on = everything_on(plain, folder, otlp, every=every, turns=len(SERVERS))
        server = stack.enter_context(stageline(stack.enter_context(configuration(on.settings))))
        yield Contender(name, server.url, server.pid, on.key)
