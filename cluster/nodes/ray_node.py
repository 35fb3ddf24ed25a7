"""One Ray node in a network namespace: how it is started, and what it needs to have a temporary folder to itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.node import end_processes, has_ended
from cluster.nodes.namespaces import Place, end_all
from engine.errors import EngineFailed

GCS_PORT = 6379
_START_S = 90.0
_STOP_S = 30.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class HealthChecks:
    """How the head finds out that a node is gone: seen after about `period_ms` x `failures` + `timeout_ms`."""

    initial_delay_ms: int = 1000
    period_ms: int = 1000
    timeout_ms: int = 1000
    failures: int = 3

    def environment(self) -> dict[str, str]:
        """As Ray reads them where the head starts."""
        return {
            "RAY_health_check_initial_delay_ms": str(self.initial_delay_ms),
            "RAY_health_check_period_ms": str(self.period_ms),
            "RAY_health_check_timeout_ms": str(self.timeout_ms),
            "RAY_health_check_failure_threshold": str(self.failures),
        }


@dataclass(slots=True)
class LocalNode:
    """One node. `wanted` says whether it is meant to run: a supervisor starts it again when it does not.

    `cpus` are what Ray may hand out; together they may be more than the machine has. `resources` hold, beside those
    asked for, one of the node's own name. `cores` are those of the machine that all its processes keep to; none: all.
    """

    place: Place
    is_head: bool
    cpus: int
    object_store: int
    folder: Path
    environment: Mapping[str, str]
    resources: Mapping[str, float] = field(default_factory=dict)
    cores: tuple[int, ...] = ()
    wanted: bool = False
    gcs_command: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def ip(self) -> str:
        return self.place.address

    @property
    def namespace(self) -> str:
        return self.place.namespace

    @property
    def keeps_state(self) -> bool:
        """Whether its GCS has its state in Redis, and finds it there when it starts again."""
        return "RAY_REDIS_ADDRESS" in self.environment

    def command(self, *argv: str) -> list[str]:
        """`argv`, run in its namespace and on its cores."""
        pinned = ["taskset", "--cpu-list", ",".join(map(str, self.cores))] if self.cores else []
        return self.place.command(*pinned, *argv)

    def processes(self) -> set[psutil.Process]:
        """All that run in its namespace."""
        return self.place.processes()

    def core(self, name: str) -> psutil.Process | None:
        """The process called "raylet" or "gcs_server", if it runs."""
        return next((one for one in self.processes() if _name(one) == name and not has_ended(one)), None)

    def runs(self) -> bool:
        """Whether its raylet runs, and on the head the GCS."""
        names = {_name(one) for one in self.processes() if not has_ended(one)}
        return "raylet" in names and (not self.is_head or "gcs_server" in names)

    def start(self, head: str) -> None:
        """Start it and wait until Ray says so; `head` is the GCS's address.

        What is left of it in the namespace is ended first. Raises `EngineFailed` with Ray's words.
        """
        end_all(self.namespace)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Or a head would take workers that look for it for the head itself, and not start.
        (self.folder / "ray_current_cluster").unlink(missing_ok=True)
        arguments = [
            # (No --node-name: Serve's proxies take a node's name for its address.)
            *("start", "--disable-usage-stats", "--log-style=record", f"--node-ip-address={self.ip}"),
            *(f"--num-cpus={self.cpus}", f"--object-store-memory={self.object_store}"),
            *(f"--resources={json.dumps({**self.resources, self.name: 1.0})}", f"--temp-dir={self.folder}"),
            f"--labels=stageline/node={self.name}",
        ]
        if self.is_head:
            arguments += ["--head", f"--port={GCS_PORT}", "--include-dashboard=false"]
            if "RAY_REDIS_PASSWORD" in self.environment:
                # The GCS reads the variable, `ray start` itself only this.
                arguments += [f"--redis-password={self.environment['RAY_REDIS_PASSWORD']}"]
        else:
            arguments += [f"--address={head}"]
        self._run(arguments)
        self.wanted = True
        gcs = self.core("gcs_server")
        if gcs is not None:
            self.gcs_command = gcs.cmdline()

    def start_gcs(self) -> None:
        """Start the GCS again, as it was started, beside a head's raylet that still runs."""
        with (self.folder / "gcs-restarts.log").open("ab") as log:
            subprocess.Popen(
                self.command(*self.gcs_command),
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill_gcs(self) -> None:
        """Kill the GCS and nothing else, and wait until it is gone: while it dies it would pass for one that runs."""
        gcs = self.core("gcs_server")
        if gcs is None:
            return
        gcs.kill()
        deadline = time.monotonic() + _STOP_S
        while not has_ended(gcs):
            if time.monotonic() > deadline:
                raise EngineFailed(f"The GCS of {self.name} does not end (process {gcs.pid}).")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Ask the raylet to end, which tells the head so, and end all the rest."""
        self.wanted = False
        raylet = self.core("raylet")
        if raylet is not None:
            end_processes({raylet}, grace_s=_STOP_S)
        end_all(self.namespace)

    def kill(self) -> None:
        """Kill all its processes at once, as if it lost its power."""
        self.wanted = False
        end_all(self.namespace)

    def _run(self, arguments: list[str]) -> None:
        log = self.folder / "start.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(sys.executable, "-m", "ray.scripts.scripts", *arguments),
                env={**os.environ, **self.environment, **({"RAY_NODE_TYPE_NAME": "headgroup"} if self.is_head else {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            status = process.wait(_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_START_S)
            status = -1
        if status:
            words, _, _ = log.read_text(encoding="utf-8", errors="replace").partition("*** StackTrace")
            last = "\n".join(words.strip().splitlines()[-15:])
            raise EngineFailed(f"The node {self.name} could not be started:\n{last}")


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""
