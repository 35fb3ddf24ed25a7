"""The plain baseline on several nodes: a replica on each, with at most as many threads as Stageline has there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from cluster.nodes.local_cluster import LocalCluster
from deployments.bench.node_server import on_head
from deployments.benchmark.baseline import environment
from deployments.benchmark.figures import figures
from deployments.benchmark.harness import Measured
from deployments.benchmark.node_servers import Job, NodeServer, cluster_of
from deployments.benchmark.shapes import Share, file_of
from deployments.benchmark.works import for_round, users_of
from loadtest.scenario import GENERATING, Scenario

CALLERS = 2  # of each replica, which answers one at a time
WARM_UP_S = 2.0
WARM_UP_SEED = 10_000


def baseline_cluster(part: Share, rest: Sequence[int]) -> AbstractContextManager[LocalCluster]:
    """Nodes as for Stageline, but with Ray Serve as it is without any switch."""
    return cluster_of(part, rest, lambda folder: environment())


@contextmanager
def serving_baseline(cluster: LocalCluster, job: Job, nodes: int, threads: int) -> Iterator[NodeServer]:
    """With as many threads as it is fastest with, at most `threads`. Each replica claims all CPUs of a node: none has
    two then, and the head none. Raises `EngineFailed` where it does not start."""
    config = cluster.folder / "baseline.yaml"
    config.write_text(file_of([job.model]), encoding="utf-8")
    command = ["-m", "deployments.benchmark.baseline", str(config), "--address", cluster.address]
    command += ["--replicas", str(nodes), "--most", str(threads), "--cpus", str(threads)]
    with on_head(cluster, command, "/health") as url:
        yield NodeServer(cluster, url, [], job.rest)


def measure_baseline(server: NodeServer, scenario: Scenario, nodes: int, seconds: float, seed: int) -> Measured:
    """Not streamed, with as many callers as keep its replicas at work: the others would only wait. After some requests
    that do not count."""
    asked = tuple(one.model_copy(update={"stream": False}) for one in scenario.requests)
    scenario = scenario.model_copy(update={"requests": asked})
    callers = min(users_of(scenario), CALLERS * nodes)
    server.ask(for_round(scenario, seed + WARM_UP_SEED, callers, WARM_UP_S))
    return server.ask(for_round(scenario, seed, callers, seconds))


def sample_of(measured: Measured, scenario: Scenario, facts: Mapping[str, Any]) -> dict[str, Any]:
    """`rate` is from the first request sent to the last answer."""
    found = figures(measured.records)
    generating = scenario.requests[0].kind in GENERATING
    rate = found["tokens_per_s"] if generating else found["items_per_s"]
    return {"rate": rate, "failed": found["failed"], "client": measured.client, **facts}
