"""Servers that are measured, each in a process of its own that is ended with what it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from cluster.node import end_processes, free_ports
from deployments.benchmark.shapes import file_of
from deployments.settings import Settings
from engine.errors import EngineFailed
from loadtest.scenario import Scenario
from loadtest.workload import PATHS

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
HOST = "127.0.0.1"
_POLL_S = 0.2
_ASK_S = 10.0
_LOG_CHARACTERS = 800


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers, and the process that all of it is below."""

    url: str
    pid: int


@contextmanager
def running(name: str, command: Sequence[str], ready: str, limit_s: float = START_TIMEOUT_S) -> Iterator[int]:
    """A server's process (its id), from when the URL `ready` answers 200. Raises `EngineFailed` with its last words."""
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        except OSError as error:
            raise EngineFailed(f"{name} cannot be started: {error}.") from None
        try:
            deadline = time.monotonic() + limit_s
            while not answers(ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    words = log.read().decode(errors="replace").strip()[-_LOG_CHARACTERS:]
                    raise EngineFailed(f"{name} did not start: {words or 'it said nothing'}")
                time.sleep(_POLL_S)
            yield process.pid
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, and ends what is left of it after a while."""
    if process.poll() is not None:
        return
    below = set(psutil.Process(process.pid).children(recursive=True))
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    end_processes(below)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def configuration(settings: Settings) -> Iterator[Path]:
    """A file that has these models and no others (nobody loads what is not asked), and all else that is set."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "serve.yaml"
        path.write_text(file_of(settings.models, settings), encoding="utf-8")
        yield path


@contextmanager
def baseline(config: Path) -> Iterator[Running]:
    """The plain baseline with a configuration's models, with as many threads as it is fastest with."""
    (port,) = free_ports(1)
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "deployments.benchmark.baseline", str(config), "--port", str(port)]
    with running("The baseline", command, f"{url}/health") as pid:
        yield Running(url, pid)


def baseline_facts(url: str, scenario: Scenario) -> dict[str, Any]:
    """With how many threads the baseline does this, and what it tried; empty where it is another one that does not
    say so."""
    try:
        told = httpx.get(f"{url}{PATHS[scenario.requests[0].kind]}", timeout=_ASK_S).raise_for_status().json()
        return {"threads": int(told["threads"]), "tried_s": dict(told["tried_s"])}
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return {}


@contextmanager
def stageline(config: Path) -> Iterator[Running]:
    """`stageline serve CONFIG`."""
    (port,) = free_ports(1)
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "deployments.cli", "serve", str(config), "--port", str(port)]
    with running("Stageline", command, f"{url}/ready") as pid:
        yield Running(url, pid)
