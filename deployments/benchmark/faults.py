"""A node is lost at the peak of the load: are requests lost with it, and how long do callers wait?"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.nodes.local_cluster import LocalCluster, local_cluster
from deployments.bench.node_server import check_here, found_parts, processes, served, wait_whole
from deployments.benchmark.losses import failures, peak_s, resumptions, under_way, window, wrong_lengths
from deployments.benchmark.shapes import choose
from deployments.benchmark.stored import scenario_kept
from deployments.cli.fetch import fetch_models
from deployments.serving import local_environment
from deployments.settings import Settings
from engine.errors import ConfigError, EngineFailed
from loadtest.record import Record, read_records
from loadtest.report import write_report
from loadtest.report.folder import read_samples
from loadtest.run import Trial, run
from loadtest.scenario import Scenario

BEGIN_S = 60.0  # until the client's first answer
WHOLE_S = 90.0  # until all replicas are there again
POLL_S = 0.25
RUN = "run"


@dataclass(frozen=True, slots=True)
class Plan:
    """`nodes` beside the head, with `cpus` each for Ray. One is killed `at_s` seconds from the start, and started again
    `away_s` later; None: in the middle of the scenario's highest phase."""

    scenario: Scenario
    config: Path
    model: str = ""
    nodes: int = 3
    cpus: int = 1
    at_s: float | None = None
    away_s: float = 12.0


@dataclass(slots=True)
class Loss:
    """What was done to which node, as Unix times; 0 and None: it did not come to it."""

    node: str
    killed_s: float = 0.0
    back_s: float | None = None
    whole_s: float | None = None


def bench_faults(plan: Plan, settings: Settings, console: Console, folder: Path) -> dict[str, Any]:
    """The result; the run itself with its report goes into `folder`. Raises ConfigError where there are
    no network namespaces, EngineFailed where the server does not start, and LoadTestError."""
    check_here()
    model, variant = choose(settings, plan.model)
    fetch_models(settings, console)
    asked = tuple(one.model_copy(update={"model": model.name}) for one in plan.scenario.requests)
    scenario = plan.scenario.model_copy(update={"requests": asked})
    at_s = peak_s(scenario) if plan.at_s is None else plan.at_s
    if at_s >= scenario.total_s:
        raise ConfigError(f"The load ends after {scenario.total_s:g} s: nothing can be lost at {at_s:g} s.", param="at")
    requests = folder / "requests.jsonl"
    requests.unlink(missing_ok=True)  # of another run: it would tell of a beginning that was not this one's
    cpus = [0, *[plan.cpus] * plan.nodes]
    console.print(f"Starting {plan.nodes} nodes and the head ...")
    with local_cluster(len(cpus), cpus=cpus, environment=local_environment) as cluster:
        console.print("Starting the server ...")
        with served(cluster, plan.config) as url, ThreadPoolExecutor(1) as other:
            whole = len(wait_whole(url, model.name, processes(settings, model.name)))
            over = threading.Event()
            losing = other.submit(lose, cluster, url, model.name, requests, at_s, plan.away_s, whole, over)
            try:
                facts = run(Trial(scenario, url, folder, ahead=True), console)
            except BaseException:
                over.set()  # or the pool would wait for a node to come back that nobody needs
                raise
            loss = losing.result()
    marks = marked(loss, facts["start_s"], whole)
    (folder / "marks.jsonl").write_text("".join(json.dumps(mark) + "\n" for mark in marks), encoding="utf-8")
    write_report(folder)
    records = read_records(requests)
    samples = read_samples(folder)
    return {
        "benchmark": "faults",
        "complete": True,
        "model": model.name,
        "variant": variant.name,
        "replicas": whole,
        "nodes": plan.nodes,
        "scenario": scenario_kept(scenario),
        "client": facts["client"],
        "resumed": resumptions(samples),
        **summary(records, scenario, loss, facts["start_s"]),
    }


def lose(
    cluster: LocalCluster,
    url: str,
    model: str,
    requests: Path,
    at_s: float,
    away_s: float,
    whole: int,
    over: threading.Event,
) -> Loss:
    """Kills the node of a replica when the load is at its peak, starts it again, and waits until all replicas
    are there; where `over` is set, it ends soon. Raises EngineFailed where the load does not begin, or nothing is there
    to be killed."""
    _sleep(_begun_s(requests, over) + at_s - time.time(), over)
    names = {node.ip: name for name, node in cluster.nodes.items()}
    found = found_parts(url, model)
    if over.is_set() or not found:
        raise EngineFailed("No replica was there to be lost when the load was at its peak.")
    hit = names[found[0].node]
    lost = {part.pid for part in found if names[part.node] == hit}
    loss = Loss(hit, time.time())
    cluster.kill_node(hit)
    with ThreadPoolExecutor(1) as starting:
        back = starting.submit(_bring_back, cluster, hit, away_s, over)
        deadline = loss.killed_s + WHOLE_S
        while loss.whole_s is None and time.time() < deadline and not over.is_set():
            here = found_parts(url, model)
            if len(here) >= whole and not lost & {part.pid for part in here}:
                loss.whole_s = time.time()
            over.wait(POLL_S)
        loss.back_s = back.result()
    return loss


def _bring_back(cluster: LocalCluster, node: str, away_s: float, over: threading.Event) -> float:
    _sleep(away_s, over)
    cluster.start_node(node)
    return time.time()


def _begun_s(requests: Path, over: threading.Event) -> float:
    """When the run began, about, as its first answer tells; Unix time."""
    deadline = time.monotonic() + BEGIN_S
    while not (requests.exists() and (text := requests.read_text(encoding="utf-8")).count("\n")):
        if over.wait(POLL_S) or time.monotonic() > deadline:
            raise EngineFailed("The load did not begin: nothing was answered.")
    return time.time() - float(json.loads(text.splitlines()[0])["end_s"])


def _sleep(seconds: float, over: threading.Event) -> None:
    over.wait(max(0.0, seconds))


def marked(loss: Loss, start_s: float, whole: int) -> list[dict[str, Any]]:
    """What the run's report shows on its time axis."""
    back_s = None if loss.back_s is None else loss.back_s - start_s
    marks = [{"at_s": loss.killed_s - start_s, "until_s": back_s, "what": f"{loss.node} is dead"}]
    if loss.whole_s is not None:
        marks.append({"at_s": loss.whole_s - start_s, "until_s": None, "what": f"{whole} replicas again"})
    return marks


def summary(records: Sequence[Record], scenario: Scenario, loss: Loss, start_s: float) -> dict[str, Any]:
    """Times are seconds from the run's start. `during` is from the loss until all replicas are there, or the end."""
    killed_s = loss.killed_s - start_s
    whole_s = None if loss.whole_s is None else loss.whole_s - start_s
    until_s = scenario.total_s if whole_s is None else whole_s
    return {
        "node": loss.node,
        "killed_s": killed_s,
        "back_s": None if loss.back_s is None else loss.back_s - start_s,
        "whole_s": whole_s,
        "requests": len(records),
        "tokens": sum(one.output_tokens for one in records),
        "under_way": under_way(records, killed_s),
        "lost": failures(records),
        "wrong_lengths": wrong_lengths(records, scenario),
        "windows": {
            "before": window(records, 0.0, killed_s),
            "during": window(records, killed_s, until_s),
            "after": window(records, until_s, max(scenario.total_s, until_s)),
        },
    }


def nothing_lost(result: Mapping[str, Any]) -> bool:
    """Whether nothing was lost or of another length, and all replicas came back."""
    return not result["lost"] and not result["wrong_lengths"] and result["whole_s"] is not None
