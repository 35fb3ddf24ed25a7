from __future__ import annotations

import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
START_S = 30.0


@dataclass(frozen=True, slots=True)
class Timed:
    """The server with known timing, in a process of its own: `timed_server.py`."""

    url: str

    def truth(self) -> list[dict[str, Any]]:
        """Its requests since the test began, in the order in which they came."""
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/truth", timeout=30).raise_for_status().json()["requests"]
        return found

    def clear(self) -> None:
        httpx.post(f"{self.url}/truth/clear", timeout=30).raise_for_status()


@contextmanager
def start_timed(default: str = "") -> Iterator[Timed]:
    """With options for all requests."""
    command = [sys.executable, "-m", "tests.loadtest.timed_server", "--default", default]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(START_S), f"the server did not tell its port within {START_S:.0f} s"
            yield Timed(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()


@pytest.fixture(scope="session")
def timed_process() -> Iterator[Timed]:
    with start_timed() as timed:
        yield timed


@pytest.fixture
def timed_server(timed_process: Timed) -> Timed:
    """One process for all tests; each begins with nothing told of earlier requests."""
    timed_process.clear()
    return timed_process
