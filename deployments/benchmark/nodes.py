"""The same load on one real node and on several, the model in stages or in replicas, with the same cores together."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from deployments.bench.faults.run import check_here
from deployments.benchmark.node_servers import Asked, NodeServer, serving
from deployments.benchmark.shapes import Shape, choose, shapes, share
from deployments.benchmark.traffic import count, traffic
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
    scenario = with_model(plan.scenario, model.name)
    wanted = shapes(plan.counts)
    parts = {shape: share(own[: plan.cores], shape.nodes) for shape in wanted}
    rest = own[plan.cores :]
    samples: dict[Shape, list[dict[str, Any]]] = {shape: [] for shape in wanted}
    requests: dict[str, list[Record]] = {}
    slow = None
    for turn in range(plan.rounds):
        # There and back again: a machine that grows slower meanwhile does so for all of them.
        for order, shape in enumerate(wanted if turn % 2 == 0 else wanted[::-1]):
            with serving(model, variant, shape, parts[shape], rest) as server:
                sample, asked = measure(server, for_round(scenario, plan.seconds, seed=10 * turn + order))
                samples[shape].append({"round": turn + 1, **sample})
                requests[f"{shape.name}-{turn + 1}".replace(" ", "-")] = asked.records
                console.print(f"Round {turn + 1}, {shape.name}: {sample['rate']:.0f} {unit(scenario)}", highlight=False)
                if shape == SLOW and turn == plan.rounds - 1 and plan.delays_ms:
                    slow = slowed(server, scenario, plan, console)
    return {
        "benchmark": "nodes",
        **machine(VERSIONS),
        "model": model.name,
        "variant": variant.name,
        "scenario": scenario.model_dump(mode="json"),
        "unit": unit(scenario),
        "used_cores": plan.cores,
        "head_apart": bool(rest),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "shapes": [
            {
                "name": shape.name,
                **asdict(shape),
                "threads": parts[shape].threads,
                "ideal": parts[shape].ideal,
                "apart": parts[shape].apart,
                "samples": samples[shape],
            }
            for shape in wanted
        ],
        "slow": slow,
    }, requests


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


def measure(server: NodeServer, scenario: Scenario) -> tuple[dict[str, Any], Asked]:
    """Some seconds without load, then the scenario; with the bytes that went over the cables in both."""
    network = server.cluster.network
    idle = count(network)
    time.sleep(IDLE_S)
    before = count(network)
    asked = server.ask(scenario)
    moved = traffic(before, count(network))
    return {
        **figures(asked.records, scenario),
        "where": where(server),
        "bytes": asdict(moved),
        "idle_bytes_per_s": traffic(idle, before).between / IDLE_S,
        "client": asked.client,
    }, asked


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


def slowed(server: NodeServer, scenario: Scenario, plan: Plan, console: Console) -> dict[str, Any]:
    """The same with a slow link to one of two nodes, for all callers and for a single one."""
    assert isinstance(scenario.load, Closed)
    callers = sorted({scenario.load.users, 1}, reverse=True)
    samples: list[dict[str, Any]] = []
    by = "netem"
    for delay_ms in (0.0, RELAY_ALONE_MS, *plan.delays_ms):
        server.cluster.slow(SLOWED, delay_ms=delay_ms)
        relay = server.cluster.network.place(SLOWED).relay is not None
        by = "a process" if relay else by
        if delay_ms == RELAY_ALONE_MS and not relay:
            continue
        for number, users in enumerate(callers):
            trial = for_round(scenario, plan.seconds, seed=1000 + 10 * len(samples) + number, users=users)
            asked = server.ask(trial)
            found = figures(asked.records, trial)
            samples.append({"delay_ms": delay_ms, "relay": relay, "callers": users, **found, "client": asked.client})
            console.print(
                f"Link of {SLOWED} +{delay_ms:g} ms, {users} callers: {found['rate']:.0f} {unit(scenario)}",
                highlight=False,
            )
    server.cluster.slow(SLOWED, delay_ms=0)
    return {"shape": SLOW.name, "node": SLOWED, "by": by, "where": where(server), "samples": samples}
