"""A Ray node as KubeRay starts one in a pod, with the dashboard that it talks to; and what it asks of that."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from cluster.node import end_processes, free_ports, node_temp_dir
from deployments.serving import local_environment

LIMIT_S = 240.0


@dataclass(frozen=True, slots=True)
class Pod:
    """`api` is the dashboard's, with a client that knows the token; `port` is to be Serve's."""

    api: httpx.Client
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, config: Mapping[str, Any]) -> None:
        """As KubeRay brings a `serveConfigV2` to Ray, again whenever it is changed."""
        response = self.api.put("/api/serve/applications/", json=config)
        assert response.status_code == 200, response.text

    def wait_running(self, replicas: Mapping[str, int]) -> dict[str, list[str]]:
        """Waits until the application runs with so many replicas of each deployment, and none is being ended. Their
        ids, by deployment."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            found = self.api.get("/api/serve/applications/").raise_for_status().json()["applications"]["stageline"]
            shown = {name: one["replicas"] for name, one in found["deployments"].items()}
            states = {name: [replica["state"] for replica in some] for name, some in shown.items()}
            if found["status"] == "RUNNING" and states == {name: ["RUNNING"] * n for name, n in replicas.items()}:
                return {name: [replica["replica_id"] for replica in some] for name, some in shown.items()}
            assert found["status"] != "DEPLOY_FAILED", found["message"]
            assert time.monotonic() < deadline, f"{found['status']}: {states} {found['message']}"
            time.sleep(0.2)


@contextmanager
def running_pod(cpus: int) -> Iterator[Pod]:
    """A head of a cluster of its own, whose API wants a token."""
    with node_temp_dir() as folder:
        gcs, dashboard, agent, agent_grpc, client, metrics, port = free_ports(7)
        token = secrets.token_hex(16)
        environment = {**os.environ, **local_environment(folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
            *(f"--port={gcs}", f"--num-cpus={cpus}", f"--temp-dir={folder}", f"--object-store-memory={96 << 20}"),
            *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
            *(f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"),
            *(f"--ray-client-server-port={client}", f"--metrics-export-port={metrics}"),
        ]
        log = folder / "start.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{dashboard}", headers={"Authorization": f"Bearer {token}"}, timeout=60
            ) as api:
                wait_for(lambda: api.get("/api/serve/applications/").status_code == 200, process, log)
                yield Pod(api, port, log)
        finally:
            end(process, folder)


def wait_for(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            if answers():
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Ends the node's processes, and those that have it for their temporary folder and nobody above them any more."""
    below = set(psutil.Process(process.pid).children(recursive=True)) if process.poll() is None else set()
    process.kill()
    process.wait(30)
    end_processes(below)
    end_processes({one for one in psutil.process_iter() if str(folder) in command_line(one)})


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
