"""A load that changes, and what the server does about it: replicas, variants, and the objective kept or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from deployments.benchmark.phases import Sample, bounds, by_variant, figures, moves
from deployments.benchmark.servers import configuration, stageline
from deployments.benchmark.stored import scenario_kept
from deployments.cli.fetch import fetch_models
from deployments.settings import Model, Settings
from engine.errors import ConfigError
from loadtest.record import Record, read_records
from loadtest.report import Report, write_report
from loadtest.report.folder import read_samples
from loadtest.run import Trial, run
from loadtest.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Plan:
    """`url`: a server that runs already, and is asked with `api_key`."""

    scenario: Scenario
    url: str | None = None
    api_key: str = ""


def bench_scaling(plan: Plan, settings: Settings, console: Console, folder: Path) -> dict[str, Any]:
    """Serves the models that the scenario asks, runs it, and writes the run's report into `folder`. Raises ConfigError,
    EngineFailed where the server does not start, and LoadTestError."""
    models = asked_only(settings, plan.scenario)
    if plan.url is not None:
        facts = run(Trial(plan.scenario, plan.url, folder, api_key=plan.api_key), console)
    else:
        asked = settings.model_copy(update={"models": tuple(models)})
        fetch_models(asked, console)
        console.print("Starting the server ...")
        with configuration(asked) as config, stageline(config) as server:
            facts = run(Trial(plan.scenario, server.url, folder, ahead=True), console)
    report = write_report(folder)
    records = read_records(folder / "requests.jsonl")
    samples = read_samples(folder)
    return {
        "benchmark": "scaling",
        "complete": True,
        "models": [_offered(model) for model in models],
        "scenario": scenario_kept(plan.scenario),
        "client": facts["client"],
        **summary(report, records, samples, plan.scenario),
    }


def asked_only(settings: Settings, scenario: Scenario) -> list[Model]:
    """The models that the scenario asks. Raises ConfigError for one that is not there."""
    known = {model.name: model for model in settings.models}
    names = list(dict.fromkeys(one.model.partition(":")[0] for one in scenario.requests))
    if missing := [name for name in names if name not in known]:
        raise ConfigError(
            f"{scenario.name} asks for {missing[0]}; this configuration has {', '.join(known)}.", param="scenario"
        )
    return [known[name] for name in names]


def _offered(model: Model) -> dict[str, Any]:
    variants = [
        {"name": one.name, "replicas": {"min": one.replicas.min, "max": one.replicas.max}} for one in model.variants
    ]
    return {"name": model.name, "task": model.task, "variants": variants}


def summary(report: Report, records: Sequence[Record], samples: Sequence[Sample], scenario: Scenario) -> dict[str, Any]:
    """Over all of the run, then by the phases of its load, and what the server did meanwhile."""
    overall = report.summary.overall
    return {
        "objective": asdict(report.verdict),
        "requests": overall.sent,
        "failed": overall.failed,
        "goodput": None if overall.goodput is None else asdict(overall.goodput),
        "by_variant": by_variant(records),
        "phases": [figures(records, samples, scenario, *times) for times in bounds(scenario)],
        "moves": moves(samples),
    }
