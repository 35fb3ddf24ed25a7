"""One measurement of a server on several nodes: its figures, and the bytes that the nodes sent each other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from deployments.benchmark.node_servers import NodeServer
from deployments.benchmark.traffic import count_bytes, traffic
from deployments.benchmark.works import for_round, users_of
from engine.errors import EngineFailed
from loadtest.record import Record
from loadtest.scenario import GENERATING, Scenario
from loadtest.summary import summarize

WARM_UP_S = 3.0
IDLE_S = 2.0  # of a server that is ready: what nodes send each other without any load
SHOWN = ("ttft", "tpot", "e2e")


def say(console: Console, turn: int, what: str, rate: float, scenario: Scenario) -> None:
    console.print(f"Round {turn}, {what}: {rate:.0f} {unit(scenario)}", highlight=False)


def scenario_for(scenario: Scenario, seconds: float, seed: int, users: int | None = None) -> Scenario:
    """One measurement's, for the scenario's callers or others."""
    return for_round(scenario, seed, users or users_of(scenario), seconds, WARM_UP_S)


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
