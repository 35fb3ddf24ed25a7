"""Why requests are sent, timed and counted by our own code inside Locust, and not by its functions.

These are facts about Locust. Should one not hold any more, its function may have become fit for use.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.loadtest.conftest import Timed

SCRIPT = Path(__file__).with_name("locust_facts.py")


@dataclass(frozen=True, slots=True)
class Seen:
    facts: dict[str, Any]
    truth: list[dict[str, Any]]


@pytest.fixture(scope="module")
def seen(timed_process: Timed) -> Seen:
    if importlib.util.find_spec("locust") is None:
        pytest.skip("Locust is not installed")
    timed_process.clear()
    command = [sys.executable, str(SCRIPT), timed_process.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return Seen(json.loads(ended.stdout), timed_process.truth())


def test_iter_lines_shows_the_first_token_late(seen: Seen) -> None:
    """It reads 1,024 bytes at a time: some more tokens have been sent when it shows the first."""
    (first_s, _), *_, (fifth_s, _) = seen.truth[0]["events"][:5]
    assert first_s < fifth_s <= seen.facts["first_line_s"]


def test_response_time_of_a_stream_ends_with_the_headers(seen: Seen) -> None:
    stream, truth = seen.facts["stream"], seen.truth[1]
    assert stream["asked_s"] + stream["response_time_s"] < truth["events"][0][0] < truth["end_s"]


def test_percentiles_have_two_digits(seen: Seen) -> None:
    assert seen.facts["percentiles_ms"] == [1300, 1300]
    true_p50, true_p99 = (statistics.quantiles(seen.facts["times_ms"], n=100)[i] for i in (49, 98))
    assert 1310 < true_p50 < true_p99 < 1340


def test_constant_throughput_is_a_closed_loop(seen: Seen) -> None:
    """A server that is slow is asked less often, just when it matters how long it would let one wait."""
    assert 1 <= seen.facts["sent"] < seen.facts["asked"] / 2
