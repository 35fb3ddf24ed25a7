"""The same load on one real node and on several, the model in stages or in replicas, with the same cores together."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from rich.console import Console

from deployments.bench.faults.run import check_here
from deployments.benchmark.node_servers import Job, NodeServer, cluster_of, serving
from deployments.benchmark.shapes import Shape, choose, shapes, share
from deployments.benchmark.traffic import count_bytes, traffic
from deployments.cli.fetch import fetch_models
from deployments.settings import Settings
from engine.errors import ConfigError, EngineFailed
from loadtest.machine import machine
from loadtest.record import Record
from loadtest.scenario import GENERATING, Closed, Scenario
from loadtest.summary import summarize

VERSIONS = ("torch", "ray", "locust")
WARM_UP_S = 3.0
IDLE_S = 2.0  # of a server that is ready: what nodes send each other without any load
SLOWED = "node-2"
# A link that is not slowed, but goes the same way: what the process costs that stands in where there is no netem.
RELAY_ALONE_MS = 0.001
SLOW = Shape(2, "stages")
SHOWN = ("ttft", "tpot", "e2e")


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


def bench_nodes(plan: Plan, settings: Settings, console: Console) -> tuple[dict[str, Any], dict[str, list[Record]]]:
    """The result, and each measurement's requests by its name. Raises ConfigError where there are no network
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
    samples: dict[Shape, list[dict[str, Any]]] = {shape: [] for shape in wanted}
    slow: list[dict[str, Any]] = []
    requests: dict[str, list[Record]] = {}
    for turn in range(plan.rounds):
        # There and back again: a machine that grows slower meanwhile does so for all of them.
        for count, group in groupby(wanted if turn % 2 == 0 else wanted[::-1], key=lambda shape: shape.nodes):
            with cluster_of(parts[count], job.rest) as cluster:
                for shape in group:
                    with serving(cluster, job, shape, parts[count].threads) as server:
                        scenario = for_round(job.scenario, plan.seconds, seed=100 * turn + wanted.index(shape))
                        sample, requests[f"{shape.name}-{turn + 1}".replace(" ", "-")] = measure(server, scenario)
                        samples[shape].append({"round": turn + 1, **sample})
                        say(console, turn, shape.name, sample["rate"], scenario)
                        if shape == SLOW and plan.delays_ms:
                            slow += slowed(server, job.scenario, plan, turn, sample, console)
    return {
        "benchmark": "nodes",
        **machine(VERSIONS),
        "model": model.name,
        "variant": variant.name,
        "scenario": job.scenario.model_dump(mode="json"),
        "unit": unit(job.scenario),
        "used_cores": plan.cores,
        "head_apart": bool(job.rest),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "shapes": [
            {
                "name": shape.name,
                **asdict(shape),
                "threads": parts[shape.nodes].threads,
                "ideal": parts[shape.nodes].ideal,
                "apart": parts[shape.nodes].apart,
                "samples": samples[shape],
            }
            for shape in wanted
        ],
        "slow": {"shape": SLOW.name, "node": SLOWED, "samples": slow} if slow else None,
    }, requests


def say(console: Console, turn: int, what: str, rate: float, scenario: Scenario) -> None:
    console.print(f"Round {turn + 1}, {what}: {rate:.0f} {unit(scenario)}", highlight=False)


def with_model(scenario: Scenario, model: str) -> Scenario:
    """Raises ConfigError for a scenario that is not a closed loop of requests of one kind."""
    if not isinstance(scenario.load, Closed) or len(scenario.requests) != 1:
        raise ConfigError(f"{scenario.name}: needs a closed loop (users) and requests of one kind.", param="scenario")
    (asked,) = scenario.requests
    return scenario.model_copy(update={"requests": (asked.model_copy(update={"model": model}),)})


def for_round(scenario: Scenario, seconds: float, seed: int, users: int | None = None) -> Scenario:
    """Other requests for each measurement: a prefix cache would know them."""
    load = scenario.load if users is None else Closed(users=users)
    changes = {"load": load, "warm_up_s": WARM_UP_S, "duration_s": seconds, "seed": seed}
    return scenario.model_copy(update=changes)


def unit(scenario: Scenario) -> str:
    """Of the rates."""
    return "tokens/s" if scenario.requests[0].kind in GENERATING else "texts/s"


def measure(server: NodeServer, scenario: Scenario, idle_s: float = IDLE_S) -> tuple[dict[str, Any], list[Record]]:
    """Some seconds without load, then the scenario; with the bytes that went over the cables in both."""
    network = server.cluster.network
    idle = count_bytes(network)
    time.sleep(idle_s)
    before = count_bytes(network)
    asked = server.ask(scenario)
    moved = traffic(before, count_bytes(network))
    return {
        **figures(asked.records, scenario),
        "where": where(server),
        "bytes": asdict(moved),
        "idle_bytes_per_s": traffic(idle, before).between / idle_s if idle_s else None,
        "client": asked.client,
    }, asked.records


def where(server: NodeServer) -> list[dict[str, Any]]:
    """The nodes of each replica, by name."""
    return [asdict(place) for place in server.places]


def figures(records: Sequence[Record], scenario: Scenario) -> dict[str, Any]:
    """`rate` is of the time after the warm-up; `answered` (tokens, or texts) is of the whole run, as the bytes are.
    Raises EngineFailed where nothing was answered."""
    overall = summarize(records, scenario).overall
    generating = scenario.requests[0].kind in GENERATING
    rate = overall.output_tokens_per_s if generating else overall.items_per_s
    complete = [one for one in records if not one.failure]
    if not rate or not complete:
        why = next((one.message or one.failure for one in records if one.failure), "no request was sent")
        raise EngineFailed(f"Nothing was answered: {why}")
    return {
        "rate": rate,
        **{f"{name}_p50_ms": found.p50.value for name, found in overall.latencies.items() if name in SHOWN},
        "failed": len(records) - len(complete),
        "answered": sum(one.output_tokens if generating else one.items for one in complete),
    }


def slowed(
    server: NodeServer, scenario: Scenario, plan: Plan, turn: int, plain: Mapping[str, Any], console: Console
) -> list[dict[str, Any]]:
    """The same with a slow link to one of two nodes, for all callers and for a single one; `plain` is what was measured
    of all callers with the link as it is."""
    assert isinstance(scenario.load, Closed)
    everybody = scenario.load.users
    samples = [{**plain, "delay_ms": 0.0, "relay": False, "callers": everybody}]
    for number, delay_ms in enumerate((0.0, RELAY_ALONE_MS, *plan.delays_ms)):
        server.cluster.slow(SLOWED, delay_ms=delay_ms)
        relay = server.cluster.network.place(SLOWED).relay is not None
        if delay_ms == RELAY_ALONE_MS and not relay:
            continue
        for users in sorted({everybody, 1} - ({everybody} if not delay_ms else set())):
            asked = for_round(scenario, plan.seconds, seed=100 * turn + 50 + 2 * number + (users == 1), users=users)
            sample, _ = measure(server, asked, idle_s=0.0)
            samples.append(
                {"round": turn + 1, **sample, "delay_ms": delay_ms, "relay": relay, "callers": users},
            )
            say(console, turn, f"link of {SLOWED} +{delay_ms:g} ms, {users} callers", sample["rate"], scenario)
    server.cluster.slow(SLOWED, delay_ms=0)
    return samples
