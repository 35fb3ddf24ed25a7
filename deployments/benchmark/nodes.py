"""The same load on one real node and on several, the model in stages or in replicas, with the same cores together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from deployments.bench.node_server import check_here
from deployments.benchmark.kept import Kept
from deployments.benchmark.node_baseline import baseline_cluster, measure_baseline, sample_of, serving_baseline
from deployments.benchmark.node_measures import measure, say, scenario_for, unit
from deployments.benchmark.node_servers import Job, cluster_of, serving
from deployments.benchmark.servers import baseline_facts
from deployments.benchmark.shapes import Shape, Share, choose, shapes, share
from deployments.benchmark.slow_links import SLOW, SLOWED, slowed
from deployments.benchmark.stored import scenario_kept
from deployments.benchmark.works import with_model
from deployments.cli.fetch import fetch_models
from deployments.settings import Settings
from engine.errors import ConfigError
from loadtest.record import Record
from loadtest.scenario import Scenario
from loadtest.turns import there_and_back, turns


@dataclass(frozen=True, slots=True)
class Plan:
    """`counts` of nodes; `cores` of the machine for all nodes together; `seconds` of each measurement. `delays_ms` is
    how much longer a round trip over a slow link takes, measured with two stages on two nodes."""

    scenario: Scenario
    model: str = ""
    counts: tuple[int, ...] = (1, 2, 3)
    cores: int = 2
    rounds: int = 3
    seconds: float = 10.0
    delays_ms: tuple[float, ...] = (1.0, 10.0)


def bench_nodes(plan: Plan, settings: Settings, console: Console, kept: Kept) -> None:
    """Keeps each measurement's requests, and the result after each round. Raises ConfigError where there are no network
    namespaces, EngineFailed where a server does not start or runs elsewhere than asked, and LoadTestError."""
    check_here()
    own = sorted(os.sched_getaffinity(0))
    if not 1 <= plan.cores <= len(own):
        raise ConfigError(f"{plan.cores} cores are not possible: there are {len(own)}.", param="cores")
    model, variant = choose(settings, plan.model)
    fetch_models(settings.model_copy(update={"models": (model,)}), console)
    job = Job(model, variant, with_model(plan.scenario, model.name), tuple(own[plan.cores :]))
    wanted = shapes(plan.counts)
    parts = {count: share(own[: plan.cores], count) for count in sorted({shape.nodes for shape in wanted})}
    items = [*wanted, *(Shape(count, "baseline") for count in parts)]
    items.sort(key=lambda shape: shape.nodes)
    samples: dict[Shape, list[dict[str, Any]]] = {shape: [] for shape in items}
    slow: list[dict[str, Any]] = []

    def note(turn: int, shape: Shape, sample: Mapping[str, Any], records: Sequence[Record]) -> None:
        kept.requests(f"{shape.name}-{turn}".replace(" ", "-"), records)
        samples[shape].append({"round": turn, **sample})
        say(console, turn, shape.name, sample["rate"], job.scenario)

    with ExitStack() as stack:
        place = (0, 0, False)
        # There and back again: a machine that grows slower meanwhile does so for all of them.
        everything = turns(items, plan.rounds, console, name=lambda shape: shape.name, order=there_and_back)
        for number, (turn, shape) in enumerate(everything, 1):
            part, seed, plain = parts[shape.nodes], 100 * turn + items.index(shape), shape.how == "baseline"
            if place != (turn, shape.nodes, plain):  # shapes of as many nodes share a cluster
                stack.close()
                cluster = stack.enter_context((baseline_cluster if plain else cluster_of)(part, job.rest))
                place = (turn, shape.nodes, plain)
            if plain:
                with serving_baseline(cluster, job, shape.nodes, part.threads) as server:
                    measured = measure_baseline(server, job.scenario, shape.nodes, plan.seconds, seed)
                    sample = sample_of(measured, job.scenario, baseline_facts(server.url, job.scenario))
                    note(turn, shape, sample, measured.records)
            else:
                with serving(cluster, job, shape, part.threads) as server:
                    sample, records = measure(server, scenario_for(job.scenario, plan.seconds, seed))
                    note(turn, shape, sample, records)
                    if shape == SLOW and plan.delays_ms:
                        slow += slowed(server, job.scenario, plan.delays_ms, plan.seconds, turn, sample, console, kept)
            if number % len(items) == 0:
                kept.result({
                    "benchmark": "nodes",
                    **facts(plan, job),
                    "rounds": turn,
                    "complete": turn == plan.rounds,
                    "shapes": [shape_result(shape, parts[shape.nodes], samples[shape]) for shape in wanted],
                    "baselines": [
                        {"nodes": shape.nodes, "samples": samples[shape]} for shape in items if shape.how == "baseline"
                    ],
                    "slow": {"shape": SLOW.name, "node": SLOWED, "samples": slow} if slow else None,
                })  # fmt: skip


def facts(plan: Plan, job: Job) -> dict[str, Any]:
    """What was served and asked."""
    return {
        "model": job.model.name,
        "variant": job.variant.name,
        "scenario": scenario_kept(job.scenario),
        "unit": unit(job.scenario),
        "used_cores": plan.cores,
        "head_apart": bool(job.rest),
        "seconds": plan.seconds,
    }


def shape_result(shape: Shape, part: Share, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A shape with what was measured of it."""
    return {
        "name": shape.name,
        **asdict(shape),
        "threads": part.threads,
        "apart": part.apart,
        "samples": list(samples),
    }
