"""One real server for all tests of this folder: `stageline serve` in its own process, Ray, HAProxy, six models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from cluster.node import free_ports
from deployments.app import FRONT_DOOR
from deployments.cli.state import ServerState
from tests.waiting import wait_until

LIMIT_S = 240.0  # for a start, which compiles the kernels where that was not done yet

ROOMY, TIGHT = "smollm2", "tight"
"""Two models of the same file: the second, in two stages, runs two requests at a time and lets two more wait."""

CHOICE = "choice"
"""The same file in two variants, fp32 and bf16. Only the wait for the first token counts, as machines differ."""

TEXTS = {"intents": "text-classification", "minilm": "embedding", "en-de": "translation"}
"""The demo's other models, by name."""


def settings(models: Mapping[str, Path]) -> dict[str, Any]:
    """The configuration file's content."""
    roomy = {"name": ROOMY, "source": str(models[ROOMY]), "kv_cache": "256MiB"}
    small = {"kv_cache": "64MiB", "max_running": 2, "max_queue": 2, "max_model_len": 1024}
    texts = [
        {"name": name, "task": task, "source": str(models[name]), "variants": [{"precision": "fp32"}]}
        for name, task in TEXTS.items()
    ]
    choice = {
        "name": CHOICE,
        "variants": [{"precision": "fp32"}, {"precision": "bf16"}],
        "objective": {"ttft_ms": 1000, "tpot_ms": 100_000},
        "max_running": 8,
        "max_queue": 32,
    }
    tight = {**roomy, "name": TIGHT, **small, "variants": [{"precision": "bf16", "stages": 2}]}
    return {"models": [roomy, tight, {**roomy, **small, **choice}, *texts]}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready. `state` is what it tells of itself to other commands."""

    process: subprocess.Popen[bytes]
    state: ServerState
    log: Path

    @property
    def url(self) -> str:
        return self.state.url

    def replicas(self, model: str) -> list[dict[str, Any]]:
        """The lines in `/status` of the replicas of the model's first variant."""
        models = httpx.get(f"{self.url}/status", timeout=30).raise_for_status().json()["models"]
        found: list[dict[str, Any]] = next(one for one in models if one["name"] == model)["variants"][0]["replicas"]
        return found

    def replica(self, model: str) -> dict[str, Any]:
        """The first of these; empty while there is none."""
        return next(iter(self.replicas(model)), {})

    def load(self, model: str) -> tuple[int, int]:
        """Requests that run and that wait."""
        replica = self.replica(model)
        return replica["running"], replica["waiting"]

    def wait_idle(self, model: str) -> None:
        """Waits until the engine has nothing to do and holds none of its cache."""
        wait_until(lambda: self.load(model) == (0, 0), f"{model} still computes")
        assert self.replica(model)["kv_cache_usage"] == 0

    def front_door(self) -> psutil.Process:
        """The process that answers HTTP."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return next(process for process in below if FRONT_DOOR in " ".join(process.cmdline()))

    def complete(self, **body: Any) -> httpx.Response:
        """`POST /v1/completions`, greedy and regardless of end tokens unless told otherwise."""
        defaults = {"model": ROOMY, "prompt": "Once upon a time", "temperature": 0, "ignore_eos": True}
        return httpx.post(f"{self.url}/v1/completions", json={**defaults, **body}, timeout=120)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


def start(models: Mapping[str, Path], folder: Path, traces: str) -> Server:
    """Starts the server that tests share; see `start_with`. It sends `traces` there, of requests that ask for one."""
    seen = {"logs": {"format": "json"}, "tracing": {"otlp": traces, "sample": 0.0}}
    return start_with(settings(models) | seen, folder)


def start_with(content: Mapping[str, Any], folder: Path) -> Server:
    """Starts a server with this configuration and its files in `folder`, and waits until it is ready."""
    config, log, run = folder / "config.yaml", folder / "log", folder / "run"
    config.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "deployments.cli", "serve", str(config), "--port", str(free_ports(1)[0])]
    with log.open("wb") as output:
        environment = {**os.environ, "STAGELINE_RUN": str(run)}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    deadline = time.monotonic() + LIMIT_S
    try:
        while True:
            for path in run.glob("server-*.json"):
                state = ServerState(**json.loads(path.read_text()))
                if state.state == "ready":
                    return Server(process, state, log)
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"not ready within {LIMIT_S} s:\n{log.read_text()}"
            time.sleep(0.1)
    except BaseException:
        process.terminate()
        process.wait(60)
        raise
