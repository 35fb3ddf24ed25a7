"""Two front doors on real nodes: one outlives the other's node, and proxies ask it for what the other has left."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import pytest
import yaml

from cluster.nodes.local_cluster import LocalCluster, local_cluster
from cluster.nodes.namespaces import unavailable
from deployments.app import FRONT_DOOR
from deployments.bench.node_server import PORT, served
from deployments.serving import local_environment
from tests.deployments.callers import LIMIT_S, Caller

pytestmark = [
    pytest.mark.ray,
    pytest.mark.model,
    pytest.mark.skipif(unavailable() is not None, reason=unavailable() or ""),
]

WORKERS = ("node-1", "node-2")


def with_front_door(cluster: LocalCluster) -> list[str]:
    """The nodes that have one."""
    running = {name: [" ".join(one.cmdline()) for one in node.processes()] for name, node in cluster.nodes.items()}
    return [name for name, lines in running.items() if any(FRONT_DOOR in line for line in lines)]


def wait_for_proxy(url: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            if httpx.get(f"{url}/-/healthz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)


def counted(url: str) -> dict[str, float]:
    """Requests that were answered, by front door, as any of them tells."""
    page = httpx.get(f"{url}/metrics", timeout=30).text
    lines = re.findall(r'^vllm:e2e_request_latency_seconds_count\{.*front_door="(\w+)".*\} (\S+)$', page, re.MULTILINE)
    return {name: float(count) for name, count in lines}


def test_one_goes_on_when_the_node_of_the_other_dies(demo_model: Path, tmp_path: Path) -> None:
    variant = {"precision": "bf16", "cores": 1, "replicas": {"min": 2, "max": 2}}
    model = {"name": "smollm2", "source": str(demo_model), "kv_cache": "64MiB", "variants": [variant]}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"http": {"front_doors": 2}, "models": [model]}))
    with local_cluster(3, cpus=[0, 1, 1], environment=local_environment) as cluster, served(cluster, config):
        assert with_front_door(cluster) == [*WORKERS], "one each, and none on the head, which they are to outlive"
        urls = {name: f"http://{cluster.node(name).ip}:{PORT}" for name in WORKERS}
        for url in urls.values():
            wait_for_proxy(url)
        callers = {name: [Caller(url, "smollm2", 8) for _ in range(2)] for name, url in urls.items()}
        for caller in (*callers["node-1"], *callers["node-2"]):
            caller.wait_for_more(3)
        told = counted(urls["node-1"])
        assert len(told) == 2
        assert all(count > 0 for count in told.values()), "both have work, whichever port it came to"
        for caller in callers["node-1"]:
            caller.stop()
        assert {outcome for caller in callers["node-1"] for outcome in caller.outcomes} == {"200"}
        cluster.kill_node("node-1")  # with half of what came to the other port under way there
        for caller in callers["node-2"]:
            caller.wait_for_more(10)
            caller.stop()
        assert {outcome for caller in callers["node-2"] for outcome in caller.outcomes} == {"200"}
