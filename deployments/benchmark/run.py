"""The table's measurement: all servers up, asked in turn, and the result of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.node import available_cores
from deployments.benchmark.agreement import agreement
from deployments.benchmark.answers import common_answers, other_prompts, variants
from deployments.benchmark.asking import BASELINE, OPTIMIZED, AllTaken, Server, take_turns
from deployments.benchmark.harness import measure
from deployments.benchmark.kept import Kept
from deployments.benchmark.measured_quality import measured_quality
from deployments.benchmark.peers_http import Peer, started
from deployments.benchmark.servers import baseline, baseline_facts, configuration, stageline
from deployments.benchmark.stored import scenario_kept
from deployments.benchmark.works import Work, first_of, scenario_of
from deployments.cli.fetch import fetch_models
from deployments.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and against what. `urls` are a baseline and a Stageline that run already, and are asked with
    `api_key`; `baseline_at_once` is how many requests that baseline answers at a time, its replicas. `seconds` of each
    measurement; None: the scenario's.
    """

    works: tuple[Work, ...]
    scenarios: Path
    rounds: int
    seconds: float | None = None
    urls: tuple[str, str] | None = None
    api_key: str = ""
    baseline_at_once: int = 1
    peers: tuple[Peer, ...] = ()


def bench_table(plan: Plan, settings: Settings, console: Console, kept: Kept) -> None:
    """Keeps each measurement's requests, and the result after each round. Raises EngineFailed, ConfigError and
    LoadTestError."""
    scenarios = {work: scenario_of(work, plan.scenarios, settings) for work in plan.works}
    asked = settings.model_copy(update={"models": tuple(first_of(settings, task) for task in _tasks(plan))})
    threads = available_cores()
    here = plan.urls is None or any(not peer.url for peer in plan.peers)
    paths = fetch_models(asked, console) if here else {}
    with ExitStack() as stack:
        servers = list(_servers(plan, stack.enter_context(configuration(asked)), stack, console))
        peers = {}
        for peer in plan.peers:
            console.print(f"Starting {peer.name} ...")
            model = Path() if peer.url else paths[first_of(asked, "generation").name]
            ready = stack.enter_context(started(peer, model, threads))
            servers.append(Server(peer.name, ready.url, peer.at_once, ready.change, tasks=("generation",)))
            peers[peer.name] = {**peer.about(), "file": model.name}
        facts = {work: baseline_facts(servers[0].url, scenario) for work, scenario in scenarios.items()}

        def result(taken: AllTaken) -> None:
            kept.result({
                "benchmark": "table",
                "threads": threads,
                "peers": peers,
                "works": {
                    work.name: {
                        "scenario": scenario_kept(scenarios[work]),
                        "baseline": facts[work],
                        **work_result(work, taken, settings),
                    }
                    for work in plan.works
                },
                **rounds_of(plan, taken),
            })  # fmt: skip

        take_turns(scenarios, servers, plan.rounds, plan.seconds, console, kept.requests, result)


def _tasks(plan: Plan) -> list[str]:
    return list(dict.fromkeys(work.task for work in plan.works))


def _servers(plan: Plan, config: Path, stack: ExitStack, console: Console) -> Iterator[Server]:
    """The baseline, then Stageline."""
    ask = partial(measure, api_key=plan.api_key)
    if plan.urls is not None:
        yield Server(BASELINE, plan.urls[0], plan.baseline_at_once, measure=ask)
        yield Server(OPTIMIZED, plan.urls[1], measure=ask)
        return
    for name, at_once, start in ((BASELINE, 1, baseline), (OPTIMIZED, None, stageline)):
        console.print(f"Starting {name} ...")
        yield Server(name, stack.enter_context(start(config)).url, at_once)


def work_result(work: Work, taken: AllTaken, settings: Settings) -> dict[str, Any]:
    """Of one work: each server's samples and how its answers agree with the baseline's."""
    found = taken[work]
    return {
        "servers": {
            name: {
                "callers": one.callers,
                "alone_per_s": one.alone_per_s,
                "variants": variants(one),
                "samples": one.samples,
                "other_prompts": other_prompts(found, name),
                "agreement": agreement(work.task, common_answers(found, name)),
            }
            for name, one in found.items()
        },
        "quality": measured_quality(settings, work.task, variants(found[OPTIMIZED])),
    }


def rounds_of(plan: Plan, taken: AllTaken) -> Mapping[str, Any]:
    """How many are over, and whether those are all."""
    over = len(next(iter(taken[plan.works[0]].values())).samples)
    return {"rounds": over, "complete": over == plan.rounds, "seconds": plan.seconds}
