"""Against a result that aiperf 0.13 wrote, 12 requests of 4 tokens; figures that nobody reads are left out."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from loadtest.agreement import aiperf
from loadtest.agreement.work import Rate, Streams, Work, prompts, schedule
from loadtest.errors import LoadTestError

FOUND: dict[str, Any] = json.loads(Path(__file__).with_name("aiperf.json").read_text(encoding="utf-8"))


def work(load: Streams | Rate) -> Work:
    return Work("http://localhost:1", "m", load, requests=3, prompt_tokens=5, output_tokens=7, arrivals_seed=2)


def test_its_result_is_read() -> None:
    said = aiperf.figures(FOUND)
    assert (said.completed, said.failed, said.version) == (12, 0, "0.13.0")
    assert said.ttft_p50_ms == pytest.approx(96.2, abs=0.1)
    assert said.ttft_p99_ms == pytest.approx(142.1, abs=0.1)
    assert said.tpot_p50_ms == pytest.approx(9.98, abs=0.01)
    # All tokens and requests, over the time from the start of its sending to the last answer.
    ended, started = (datetime.fromisoformat(FOUND[key]) for key in ("end_time", "start_time"))
    seconds = (ended - started).total_seconds()
    assert said.output_tokens_per_s == pytest.approx(12 * 4 / seconds, rel=1e-4)
    assert said.requests_per_s == pytest.approx(12 / seconds, rel=1e-4)


def test_what_it_calls_inter_token_latency_is_tpot() -> None:
    per_request = (FOUND["request_latency"]["avg"] - FOUND["time_to_first_token"]["avg"]) / (4 - 1)
    assert aiperf.figures(FOUND).tpot_mean_ms == pytest.approx(per_request)


def test_failed_requests_are_counted() -> None:
    assert aiperf.figures({**FOUND, "error_request_count": {"unit": "requests", "avg": 2.0}}).failed == 2


def test_other_units_and_missing_figures_are_refused() -> None:
    other = copy.deepcopy(FOUND)
    other["time_to_first_token"]["unit"] = "ns"
    with pytest.raises(LoadTestError, match="in ns, not in ms"):
        aiperf.figures(other)
    with pytest.raises(LoadTestError, match="inter_token_latency"):
        aiperf.figures({key: value for key, value in FOUND.items() if key != "inter_token_latency"})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_closed_loop_has_no_times(tmp_path: Path) -> None:
    one = work(Streams(2))
    command = aiperf.command(one, "aiperf", tmp_path)
    assert command[command.index("--concurrency") + 1] == "2"
    assert "--fixed-schedule" not in command
    assert lines(tmp_path / "requests.jsonl") == [
        {"text_input": prompt, "output_length": 7} for prompt in prompts(one, 3)
    ]


def test_an_open_loop_is_the_schedule_in_milliseconds(tmp_path: Path) -> None:
    one = work(rate := Rate(4.0))
    command = aiperf.command(one, "aiperf", tmp_path)
    assert "--fixed-schedule" in command
    assert "--concurrency" not in command
    times = [line["timestamp"] for line in lines(tmp_path / "requests.jsonl")]
    assert times == pytest.approx([1000 * at_s for at_s in schedule(one, rate)], abs=0.001)
    assert times[0] == 0
