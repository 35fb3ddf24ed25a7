"""The load test's Jobs (`k8s/loadtest`): their very commands, run here as a master and two workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.node import free_ports
from loadtest.outcome import BROKEN
from loadtest.record import read_records
from tests.loadtest.conftest import ROOT, Timed
from tests.loadtest.locusts import LIMIT_S, ended, scenario

FOLDER = ROOT / "k8s" / "loadtest"
SCENARIOS = ROOT / "loadtest" / "scenarios"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def job(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def container(name: str) -> dict[str, Any]:
    (only,) = job(name)["spec"]["template"]["spec"]["containers"]
    return dict(only)


def settings() -> dict[str, str]:
    """What the kustomization's ConfigMap says."""
    content = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
    (generated,) = content["configMapGenerator"]
    return dict(literal.partition("=")[::2] for literal in generated["literals"])


def variables(name: str) -> dict[str, str]:
    """A container's environment, as far as it is written down; `envFrom` is the ConfigMap."""
    assert container(name)["envFrom"] == [{"configMapRef": {"name": "stageline-loadtest"}}]
    return settings() | {one["name"]: one["value"] for one in container(name)["env"] if "value" in one}


@contextmanager
def running(name: str, log: Path, **changed: str) -> Iterator[subprocess.Popen[bytes]]:
    """A container's command with its environment, and what is other here than in a pod."""
    program = container(name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **variables(name), **changed, "PATH": path, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*program["command"], *program["args"]], env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        with ended(process):
            yield process


def test_the_jobs_commands_run_a_scenario(timed_server: Timed, tmp_path: Path) -> None:
    """The Job fails, as the objective is out of reach, and its log ends with the report all the same."""
    made = scenario(tmp_path, {"arrivals": "constant", "rate": 10}, objective={"ttft_ms": {"p50": 1}})
    port = str(free_ports(1)[0])
    here = {
        "HOME": str(tmp_path),
        "SCENARIOS": str(made.parent),
        "SCENARIO": made.stem,
        "RESULTS": str(tmp_path / "results"),
        "LOCUST_HOST": timed_server.url,
        "LOCUST_MASTER_NODE_HOST": "127.0.0.1",
        "LOCUST_MASTER_NODE_PORT": port,
        "LOCUST_MASTER_BIND_PORT": port,
    }
    logs = [tmp_path / f"{name}.log" for name in ("master", "one", "other")]
    with (
        running("workers", logs[1], **here) as one,
        running("master", logs[0], **here) as master,
        running("workers", logs[2], **here) as other,
    ):
        assert master.wait(LIMIT_S) == BROKEN, logs[0].read_text()
        assert (one.wait(LIMIT_S), other.wait(LIMIT_S)) == (0, 0), logs[1].read_text()
    (results,) = (tmp_path / "results").iterdir()
    assert results.name.startswith(f"{made.stem}-")
    records = read_records(results / "requests.jsonl")
    assert {one.worker for one in records} == {0, 1}
    assert {one.failure for one in records} == {""}
    facts = json.loads((results / "run.json").read_text())
    assert (facts["workers"], facts["client"]["complete"]) == (int(settings()["WORKERS"]), True)
    assert (results / "report.md").read_text(encoding="utf-8") in logs[0].read_text(encoding="utf-8")


def test_every_scenario_is_in_the_config_map() -> None:
    content = yaml.safe_load((SCENARIOS / "Kustomization").read_text(encoding="utf-8"))
    (generated,) = content["configMapGenerator"]
    assert generated["files"] == sorted(path.name for path in SCENARIOS.glob("*.yaml"))
    assert f"{settings()['SCENARIO']}.yaml" in generated["files"]


def test_master_and_workers_see_the_same() -> None:
    master, workers = container("master"), container("workers")
    assert master["image"] == workers["image"]
    assert variables("workers")["SCENARIOS"] == variables("master")["SCENARIOS"]
    mounts = [{one["name"]: one["mountPath"] for one in program["volumeMounts"]} for program in (master, workers)]
    assert [one["scenarios"] for one in mounts] == [variables("master")["SCENARIOS"]] * 2
    assert mounts[0]["results"] == variables("master")["RESULTS"]


def test_workers_find_their_master() -> None:
    service = job("service")
    assert variables("workers")["LOCUST_MASTER_NODE_HOST"] == service["metadata"]["name"]
    labels = job("master")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["ports"][0]["port"] == 5557  # Locust's own
    assert not service["spec"]["selector"].items() <= job("workers")["spec"]["template"]["metadata"]["labels"].items()
