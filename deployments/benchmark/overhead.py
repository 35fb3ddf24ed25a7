"""What it costs to see inside and to keep out: servers with all of it on, and with all of it of every request, against
one with none, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from deployments.benchmark.asking import AllTaken, Server, take_turns
from deployments.benchmark.everything_on import collector, everything_on, scraped
from deployments.benchmark.kept import Kept
from deployments.benchmark.metrics_cost import metrics_cost
from deployments.benchmark.overhead_costs import EVERY, OFF, ON
from deployments.benchmark.servers import configuration, stageline
from deployments.benchmark.stored import scenario_kept
from deployments.benchmark.works import WORKS, first_of, scenario_of
from deployments.cli.fetch import fetch_models
from deployments.settings import Settings

MEASURED = ("generation", "classification-8", "translation")


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` of each measurement; None: the scenario's."""

    scenarios: Path
    rounds: int
    seconds: float | None = None


def bench_overhead(plan: Plan, settings: Settings, console: Console, kept: Kept) -> None:
    """Keeps each measurement's requests, and the result after each round. Raises EngineFailed, ConfigError and
    LoadTestError."""
    works = [work for work in WORKS if work.name in MEASURED]
    scenarios = {work: scenario_of(work, plan.scenarios, settings) for work in works}
    models = tuple(first_of(settings, work.task) for work in works)
    plain = settings.model_copy(update={"models": models})
    fetch_models(plain, console)
    metrics = asdict(metrics_cost())
    with ExitStack() as stack:
        servers = list(_servers(plain, stack, console))

        def result(taken: AllTaken) -> None:
            over = len(taken[works[0]][ON].samples)
            kept.result({
                "benchmark": "overhead",
                "rounds": over,
                "complete": over == plan.rounds,
                "metrics": metrics,
                "works": {
                    work.name: {
                        "scenario": scenario_kept(scenarios[work]),
                        "servers": {name: {"samples": one.samples} for name, one in taken[work].items()},
                    }
                    for work in works
                },
            })  # fmt: skip

        take_turns(scenarios, servers, plan.rounds, plan.seconds, console, kept.requests, result)


def _servers(plain: Settings, stack: ExitStack, console: Console) -> Iterator[Server]:
    console.print("Starting the server with all of it off ...")
    yield Server(OFF, stack.enter_context(stageline(stack.enter_context(configuration(plain)))))
    otlp = stack.enter_context(collector())
    for name, every in ((ON, False), (EVERY, True)):
        console.print(f"Starting the server with all of it on{', of every request' if every else ''} ...")
        on = everything_on(plain, Path(stack.enter_context(TemporaryDirectory())), otlp, every=every)
        url = stack.enter_context(stageline(stack.enter_context(configuration(on.settings))))
        yield Server(name, url, measure=scraped(on.key))
