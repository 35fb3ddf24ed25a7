from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cluster.nodes.namespaces import unavailable
from deployments.cli import app
from deployments.cli.cluster import nodes_table
from deployments.cli.cluster_state import (
    ClusterState,
    find_cluster,
    listed,
    local_cluster_at,
    running_clusters,
)
from deployments.cli.state import run_dir
from engine.errors import ConfigError, EngineFailed

LIMIT_S = 120.0
ADDRESS = "10.64.1.2:6379"

invoke = CliRunner().invoke


def perform(action: str, arguments: dict[str, Any]) -> Any:
    """An owner that does nothing but tell what it was asked."""
    if action == "stop":
        raise ConfigError("There is no such node.")
    if action == "kill":
        raise EngineFailed("It does not end.")
    if action == "slow":
        raise KeyError("delay_ms")
    return [action, arguments]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[ClusterState]:
    with listed(ADDRESS, tmp_path, {"head": "sl00-head"}, {"RAY_AUTH_MODE": "token"}, perform):
        yield find_cluster()


def test_a_cluster_is_listed_while_its_owner_runs(tmp_path: Path) -> None:
    assert running_clusters() == []
    with listed(ADDRESS, tmp_path, {"head": "sl00-head"}, {}, perform):
        [found] = running_clusters()
        assert (found.pid, found.ip, found.head_namespace) == (os.getpid(), "10.64.1.2", "sl00-head")
        [file] = run_dir().glob("cluster-*.json")
        assert file.stat().st_mode & 0o077 == 0, "it says where the token is"
    assert running_clusters() == []


def test_what_is_asked_is_done_by_the_owner(owner: ClusterState) -> None:
    assert owner.ask("cut", name="node-1", other=None) == ["cut", {"name": "node-1", "other": None}]
    with pytest.raises(ConfigError, match="no such node"):
        owner.ask("stop", name="x")
    with pytest.raises(EngineFailed, match="does not end"):
        owner.ask("kill", name="x", gcs=False)
    with pytest.raises(EngineFailed, match="KeyError"):
        owner.ask("slow")
    assert invoke(app, ["cluster", "cut", "node-1", "node-2"]).exit_code == 0


def test_serve_finds_a_local_cluster_by_its_address(owner: ClusterState) -> None:
    assert local_cluster_at(ADDRESS) == owner
    assert local_cluster_at("local") == owner
    assert local_cluster_at("10.0.0.1:6379") is None
    assert local_cluster_at("auto") is None


def test_a_killed_owner_is_forgotten(owner: ClusterState) -> None:
    [path] = run_dir().glob("cluster-*.json")
    state = json.loads(path.read_text())
    gone = path.with_name("cluster-1.json")
    gone.write_text(json.dumps({**state, "created": state["created"] - 1}))
    broken = path.with_name("cluster-2.json")
    broken.write_text("{")
    assert running_clusters() == [owner]
    assert not gone.exists()
    assert not broken.exists()


def test_which_cluster_is_meant(owner: ClusterState) -> None:
    with pytest.raises(ConfigError, match=r"No local cluster runs at 1\.2\.3\.4:5\. There are: 10\.64\.1\.2:6379"):
        find_cluster("1.2.3.4:5")
    [path] = run_dir().glob("cluster-*.json")
    path.with_name("cluster-3.json").write_text(
        json.dumps(json.loads(path.read_text()) | {"address": "10.64.9.2:6379"})
    )
    with pytest.raises(ConfigError, match="Several local clusters"):
        find_cluster()
    assert find_cluster(ADDRESS) == owner
    for file in run_dir().glob("cluster-*.json"):
        file.unlink()
    with pytest.raises(ConfigError, match="stageline cluster up"):
        local_cluster_at("local")


def test_the_table() -> None:
    line = {"node": "node-1", "address": "10.64.1.3", "namespace": "sl00-node-1", "cpus": 2, "processes": 4}
    console = Console(width=100, record=True)
    console.print(nodes_table([line | {"cable": "cut", "alive": False}]))
    assert console.export_text().splitlines()[1].split() == [
        *("node-1", "10.64.1.3", "sl00-node-1", "2", "4", "cut", "no"),
    ]


# The command, with a head that has its namespace but no Ray in it: what Ray does there others test.
UP = """
from contextlib import contextmanager
from cluster.nodes.local_cluster import LocalCluster
from cluster.nodes.namespaces import network
from cluster.nodes.ray_node import LocalNode
from deployments.cli import cluster, main

@contextmanager
def without_ray(nodes, *, cpus, environment, redis, supervise):
    with network() as made:
        head = LocalNode(made.add("head"), True, cpus, 1, made.folder / "0", {})
        yield LocalCluster(made, {"head": head}, {"RAY_AUTH_MODE": "token"})

cluster.local_cluster = without_ray
cluster.alive_nodes = lambda address, environment, limit_s: {address.partition(":")[0]}
main()
"""


@pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "")
def test_a_cluster_by_hand_from_up_to_ctrl_c(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-c", UP, "cluster", "up", "--nodes", "1", "--cpus", "3"]
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + LIMIT_S
        while "Ctrl-C ends" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        state = find_cluster()
        shown = invoke(app, ["cluster", "status"]).output
        assert state.ip in shown
        assert state.head_namespace in shown
        print_it = "import os; print(os.environ['RAY_ADDRESS'], os.environ['RAY_AUTH_MODE'])"
        ran = [sys.executable, "-m", "deployments.cli", "cluster", "run", "--", sys.executable, "-c", print_it]
        assert subprocess.check_output(ran, text=True, timeout=LIMIT_S).split() == [state.address, "token"]
        assert invoke(app, ["cluster", "slow", "head", "--ms", "20"]).exit_code == 0
        assert "+20 ms" in invoke(app, ["cluster", "status"]).output
        assert invoke(app, ["cluster", "cut", "nobody"]).exit_code != 0
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
    assert process.returncode == 130, log.read_text()
    assert running_clusters() == []
    assert not Path(state.control).parent.exists()
    assert not Path("/run/netns", state.head_namespace).exists()
    folder = str(Path(state.control).parent)
    left = [one for one in psutil.process_iter(["cmdline"]) if folder in " ".join(one.info["cmdline"] or ())]
    assert left == []
