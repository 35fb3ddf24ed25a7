"""One cluster of three nodes for all tests here. Drivers are programs inside the head's namespace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.nodes.local_cluster import LocalCluster, local_cluster
from cluster.nodes.membership import alive_nodes, wait_for_nodes
from cluster.nodes.namespaces import unavailable
from cluster.nodes.ray_node import HealthChecks
from cluster.nodes.redis import redis_unavailable
from engine.errors import ConfigError, EngineFailed
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(unavailable() is not None, reason=unavailable() or ""),
]

LIMIT_S = 60.0
CORE = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
PINNED = {"node-1": [CORE]}

WHERE = """
import json, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
@ray.remote(num_cpus=1)
def where():
    return ray.util.get_node_ip_address()
found = {name: where.options(resources={name: 0.1}).remote() for name in sys.argv[2:]}
print(json.dumps({name: ray.get(one, timeout=60) for name, one in found.items()}))
"""

KEEP = """
import sys
import ray
ray.init(address=sys.argv[1], namespace="test", log_to_driver=False, logging_level="ERROR")
@ray.remote(num_cpus=0, resources={"node-1": 0.1})
class Counter:
    count = 0
    def next(self):
        self.count += 1
        return self.count
counter = Counter.options(name="counter", lifetime="detached", get_if_exists=True).remote()
print(ray.get(counter.next.remote(), timeout=60))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    if redis_unavailable() is not None:
        with local_cluster(3, cpus=[1, 2, 3], cores=PINNED, supervise=True) as running:
            yield running
    else:
        with local_cluster(3, cpus=[1, 2, 3], cores=PINNED, supervise=True, redis=True) as running:
            yield running
    assert running.processes() == set()
    assert not [path for path in Path("/run/netns").iterdir() if path.name.startswith(running.network.name)]
    assert not [path for path in Path("/sys/class/net").iterdir() if path.name.startswith(running.network.name)]
    assert not running.folder.exists()


def driver(cluster: LocalCluster, program: str, *arguments: str) -> str:
    """What a driver inside the head's namespace prints."""
    argv = [sys.executable, "-c", program, cluster.address, *arguments]
    process = cluster.run("head", argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, errors
    return str(output).strip().splitlines()[-1]


def alive(cluster: LocalCluster) -> set[str]:
    by_address = {node.ip: name for name, node in cluster.nodes.items()}
    return {by_address[address] for address in alive_nodes(cluster.address, cluster.environment)}


def test_each_node_computes_at_its_own_address(cluster: LocalCluster) -> None:
    found = json.loads(driver(cluster, WHERE, *cluster.nodes))
    assert found == {name: node.ip for name, node in cluster.nodes.items()}
    assert len(set(found.values())) == 3
    assert [node.cpus for node in cluster.nodes.values()] == [1, 2, 3]


def test_a_node_keeps_to_its_cores_and_others_do_not(cluster: LocalCluster) -> None:
    assert all(process.cpu_affinity() == [CORE] for process in cluster.node("node-1").processes())
    free = cluster.node("node-2").core("raylet")
    assert free is not None
    assert set(free.cpu_affinity()) == os.sched_getaffinity(0)


def test_who_has_no_token_does_not_get_in(cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    stranger = {**cluster.environment, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    with pytest.raises(EngineFailed):
        alive_nodes(cluster.address, stranger, limit_s=1.0)


def test_a_cut_node_is_given_up_and_comes_back_with_its_cable(cluster: LocalCluster) -> None:
    cluster.cut("node-2")
    wait_until(lambda: alive(cluster) == {"head", "node-1"}, "the cut node still counts as alive")
    cluster.restore("node-2")
    cluster.wait_alive(["node-2"], limit_s=LIMIT_S)
    assert alive(cluster) == set(cluster.nodes)


def test_a_killed_node_stays_away_until_it_is_started(cluster: LocalCluster) -> None:
    cluster.kill_node("node-1")
    assert cluster.nodes["node-1"].processes() == set()
    wait_until(lambda: alive(cluster) == {"head", "node-2"}, "the killed node still counts as alive")
    assert not cluster.revive("node-1"), "only what ended by itself is started again"
    cluster.start_node("node-1")
    assert alive(cluster) == set(cluster.nodes)


def test_a_node_taken_away_on_purpose_is_gone_at_once(cluster: LocalCluster) -> None:
    cluster.stop_node("node-2")
    assert cluster.nodes["node-2"].processes() == set()
    wait_until(lambda: alive(cluster) == {"head", "node-1"}, "the stopped node still counts as alive")
    cluster.start_node("node-2")


@pytest.mark.skipif(redis_unavailable() is not None, reason=redis_unavailable() or "")
def test_with_redis_the_gcs_comes_back_with_what_it_knew(cluster: LocalCluster) -> None:
    assert driver(cluster, KEEP) == "1"
    gcs = cluster.head.core("gcs_server")
    assert gcs is not None
    cluster.kill_gcs()
    cluster.restart_gcs()
    again = cluster.head.core("gcs_server")
    assert again is not None
    assert again != gcs
    assert driver(cluster, KEEP) == "2", "the same actor, in the same process"


def test_who_is_not_there(cluster: LocalCluster) -> None:
    for use in (cluster.cut, cluster.kill_node, cluster.start_node, cluster.stop_node):
        with pytest.raises(ConfigError, match="no node nobody"):
            use("nobody")
    with pytest.raises(ConfigError, match="no node store"):
        cluster.kill_node("store")  # a place on the network, but no node
    with pytest.raises(EngineFailed, match=r"Not all nodes are alive after 1 s: 10\.0\.0\.9"):
        wait_for_nodes(cluster.address, ["10.0.0.9"], cluster.environment, limit_s=1.0)


def test_a_start_that_cannot_be_says_so() -> None:
    with pytest.raises(ConfigError, match="2 nodes with 3"), local_cluster(2, cpus=[1, 1, 1]):
        pass
    with pytest.raises(EngineFailed, match="head could not be started"), local_cluster(1, object_store=1):
        pass


def test_health_checks_are_the_heads_variables() -> None:
    checks = HealthChecks(period_ms=2000, failures=4).environment()
    assert checks["RAY_health_check_period_ms"] == "2000"
    assert checks["RAY_health_check_failure_threshold"] == "4"
