"""Locust in processes of its own, as people start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.loadtest.conftest import ROOT

LIMIT_S = 60.0


def scenario(folder: Path, load: dict[str, Any], model: str = "ttft=0.1,gap=0.01,n=8", **more: Any) -> Path:
    given = {
        "name": "timed",
        "requests": [{"kind": "completions", "model": model, "output_tokens": 8}],
        "load": load,
        "warm_up_s": 0.5,
        "duration_s": 2.0,
        **more,
    }
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(given))
    return path


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """On leaving, it and all below it are killed."""
    try:
        yield
    finally:
        if process.poll() is None:
            for one in psutil.Process(process.pid).children(recursive=True):
                one.kill()
            process.kill()
            process.wait(LIMIT_S)


@contextmanager
def locust(*arguments: str, log: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """None of its processes is left. `log`: a file for what it says."""
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (log or Path(os.devnull)).open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        with ended(process):
            yield process


def headless(url: str, folder: Path, *more: str) -> tuple[str, ...]:
    return ("--headless", "--host", url, "--results", str(folder), "--no-report", "--only-summary", *more)


def has_records(folder: Path) -> Callable[[], bool]:
    path = folder / "requests.jsonl"
    return lambda: path.exists() and path.stat().st_size > 0


def told(folder: Path) -> dict[str, Any]:
    """What the client tells of itself."""
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found
