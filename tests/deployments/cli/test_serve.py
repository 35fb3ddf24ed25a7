"""The real command in a process of its own: a real Ray node, a real model."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cluster.node import free_ports
from deployments.cli.state import ServerState, running_servers

pytestmark = [pytest.mark.ray, pytest.mark.model]

STAGELINE = [sys.executable, "-m", "deployments.cli"]
LIMIT_S = 240.0


@contextmanager
def started(port: int, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`stageline serve` in a session of its own, so that signals to its group are its alone."""
    command = [*STAGELINE, "serve", *arguments, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def wait_for(what: Callable[[ServerState], bool], process: subprocess.Popen[bytes], log: Path) -> ServerState:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        for server in running_servers():
            if what(server):
                return server
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"not within {LIMIT_S} s:\n{log.read_text()}")


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_from_the_command_to_an_answer_and_back_to_nothing(demo_model: Path, tmp_path: Path) -> None:
    port, log = free_ports(1)[0], tmp_path / "log"
    with started(port, log) as process:
        wait_for(lambda server: server.state == "ready", process, log)
        below = psutil.Process(process.pid).children(recursive=True)
        commands = [line for line in log.read_text().splitlines() if line.strip().startswith("curl")]
        chat, classes, embedding, translation = (
            subprocess.run(shlex.split(curl), capture_output=True, text=True, check=True, timeout=60).stdout
            for curl in commands
        )
        assert chat.rstrip().endswith("data: [DONE]")
        assert json.loads(classes)["data"][0]["label"] == "card_arrival"
        assert len(json.loads(embedding)["data"][0]["embedding"]) == 384
        assert "Gitarre" in json.loads(translation)["translatedText"]
        shown = json.loads(subprocess.check_output([*STAGELINE, "status", "--json"], timeout=60))
        assert shown["models"][0]["variants"][0]["replicas"]
        talk = subprocess.run(
            [*STAGELINE, "chat", "--max-tokens", "5"], input="Hi\n", capture_output=True, text=True, timeout=60
        )
        assert talk.returncode == 0, talk.stderr
        subprocess.run([*STAGELINE, "stop"], check=True, timeout=120, capture_output=True)
        assert process.wait(10) == 0
    assert still_running(below) == []
    assert running_servers() == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_stop_in_the_middle_of_the_start_leaves_nothing(
    demo_model: Path, tmp_path: Path, number: int, status: int
) -> None:
    port, log = free_ports(1)[0], tmp_path / "log"
    with started(port, log) as process:
        wait_for(lambda server: server.ray_address != "", process, log)
        below = psutil.Process(process.pid).children(recursive=True)
        assert below
        os.killpg(process.pid, number)  # as a terminal does with Ctrl-C
        assert process.wait(60) == status, log.read_text()
    assert still_running(below) == []
    assert running_servers() == []
    assert not re.search("Traceback", log.read_text())
