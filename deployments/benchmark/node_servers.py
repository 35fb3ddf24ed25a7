"""A server on a local cluster of real nodes, in one of the shapes, with its place checked; and what asks it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from cluster.nodes.local_cluster import HEAD, LocalCluster, local_cluster
from deployments.bench.node_server import served
from deployments.benchmark.harness import Measured, measure
from deployments.benchmark.shapes import Place, Shape, Share, configuration, misplaced, running
from deployments.serving import local_environment
from deployments.settings import Model, Variant
from engine.errors import EngineFailed
from loadtest.scenario import Scenario

PLACED_S = 120.0
POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class Job:
    """What is served and asked; `rest` are the machine's cores that no node has, for the head and the client."""

    model: Model
    variant: Variant
    scenario: Scenario
    rest: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeServer:
    """`places` are the replicas', with nodes by name. The client keeps to `rest`, the cores that no node has; where
    there are none, it may use all."""

    cluster: LocalCluster
    url: str
    places: list[Place]
    rest: tuple[int, ...]

    def ask(self, scenario: Scenario) -> Measured:
        """Runs a scenario against it. Raises LoadTestError where the client did not come to its end."""
        command = ("taskset", "--cpu-list", ",".join(map(str, self.rest))) if self.rest else ()
        return measure(scenario, self.url, command=command)


@contextmanager
def cluster_of(
    part: Share, rest: Sequence[int] = (), environment: Callable[[Path], Mapping[str, str]] = local_environment
) -> Iterator[LocalCluster]:
    """Nodes with these shares of the machine, and a head without CPUs beside them, which keeps to `rest`.

    Each node has as many CPUs for Ray as a process has threads: there is no room for two on one.
    """
    names = [f"node-{number}" for number in range(1, len(part.cores) + 1)]
    cores = dict(zip(names, part.cores, strict=True)) | ({HEAD: tuple(rest)} if rest else {})
    cpus = [0, *[part.threads] * len(names)]
    with local_cluster(len(cpus), cpus=cpus, environment=environment, cores=cores) as cluster:
        yield cluster


@contextmanager
def serving(cluster: LocalCluster, job: Job, shape: Shape, threads: int) -> Iterator[NodeServer]:
    """Serves the variant on all nodes of a cluster. Raises `EngineFailed` where the server does not start, or runs
    elsewhere than it was asked to."""
    config = cluster.folder / "serve.yaml"
    config.write_text(configuration(job.model, job.variant, shape, threads), encoding="utf-8")
    with served(cluster, config) as url:
        names_of = {node.ip: name for name, node in cluster.nodes.items()}
        places = [place.named(names_of) for place in wait_placed(url, job.model.name, shape)]
        yield NodeServer(cluster, url, places, job.rest)


def wait_placed(url: str, model: str, shape: Shape, limit_s: float = PLACED_S) -> list[Place]:
    """Of each replica, as soon as all are as asked for. Raises `EngineFailed` after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            found = running(httpx.get(f"{url}/status", timeout=10.0).raise_for_status().json(), model)
            wrong = misplaced(found, shape)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            wrong = f"the server does not tell: {error!r}"
        if wrong is None:
            return found
        if time.monotonic() > deadline:
            raise EngineFailed(f"Not measured, as it does not run where it was asked to: {wrong}.")
        time.sleep(POLL_S)
