"""What it costs to see inside and to keep out: servers with all of it on, and with all of it of every request, against
one with none, in short turns.

Each round has servers of its own: two processes of one program differ by some percent for as long as they live.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from deployments.benchmark.everything_on import collector, everything_on
from deployments.benchmark.kept import Kept
from deployments.benchmark.metrics_cost import metrics_cost
from deployments.benchmark.overhead_costs import EVERY, OFF, SERVERS
from deployments.benchmark.servers import configuration, stageline
from deployments.benchmark.short_turns import Contender, Had, idle_cores, take_round
from deployments.benchmark.stored import scenario_kept
from deployments.benchmark.works import WORKS, Work, first_of, for_round, scenario_of, users_of
from deployments.cli.fetch import fetch_models
from deployments.settings import Settings
from loadtest.scenario import Scenario
from loadtest.turns import rotated, turns

MEASURED = ("generation", "classification-8", "translation")
WARM_UP_S, IDLE_S = 2.0, 15.0


@dataclass(frozen=True, slots=True)
class Round:
    """What each server took while nobody asked it, and had of each work."""

    idle_cores: dict[str, float]
    had: dict[Work, dict[str, Had]]


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` of each server for each work of a round."""

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
    rounds: list[Round] = []
    for turn, order in turns([SERVERS], plan.rounds, console, name=" against ".join):
        rounds.append(_round(rotated(order, turn), scenarios, plain, turn, plan.seconds))
        kept.result({
            "benchmark": "overhead",
            "rounds": turn,
            "seconds": plan.seconds,
            "complete": turn == plan.rounds,
            "metrics": metrics,
            "idle_cores": [one.idle_cores for one in rounds],
            "works": {
                work.name: {
                    "scenario": scenario_kept(scenario),
                    "servers": {name: [asdict(one.had[work][name]) for one in rounds] for name in SERVERS},
                }
                for work, scenario in scenarios.items()
            },
        })  # fmt: skip


def _round(
    names: Sequence[str], scenarios: Mapping[Work, Scenario], plain: Settings, turn: int, seconds: float
) -> Round:
    """With servers that are started in this order."""
    with ExitStack() as stack:
        otlp = stack.enter_context(collector())
        contenders = [stack.enter_context(_server(name, plain, otlp)) for name in names]
        for scenario in scenarios.values():
            take_round(contenders, _asked(scenario, 0, WARM_UP_S), WARM_UP_S)
        idle = idle_cores(contenders, IDLE_S)
        had = {}
        for work in rotated(list(scenarios), turn):  # metrics are read once: while now one and now another is measured
            had[work] = take_round(contenders, _asked(scenarios[work], turn, seconds), seconds)
        return Round(idle, had)


def _asked(scenario: Scenario, turn: int, seconds: float) -> Scenario:
    return for_round(scenario, turn, users_of(scenario), seconds)


@contextmanager
def _server(name: str, plain: Settings, otlp: str) -> Iterator[Contender]:
    with ExitStack() as stack:
        settings, key = plain, ""
        if name != OFF:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            on = everything_on(plain, folder, otlp, every=name == EVERY, turns=len(SERVERS))
            settings, key = on.settings, on.key
        server = stack.enter_context(stageline(stack.enter_context(configuration(settings))))
        yield Contender(name, server.url, server.pid, key)
