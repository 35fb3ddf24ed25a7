"""Against a result that servebench 1.1 wrote of an open loop, 12 requests of 4 tokens; without what nobody reads."""

from __future__ import annotations

import copy
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from loadtest.agreement import servebench
from loadtest.agreement.work import Rate, Streams, Work, schedule
from loadtest.errors import LoadTestError

FOUND: dict[str, Any] = json.loads(Path(__file__).with_name("servebench.json").read_text(encoding="utf-8"))
REQUESTS = FOUND["levels"][0]["requests"]
WORK = Work("http://localhost:1", "m", Rate(8.0), requests=12, output_tokens=4, arrivals_seed=0)


def test_its_result_is_read() -> None:
    said = servebench.figures(FOUND)
    assert (said.completed, said.failed, said.version) == (12, 0, "1.1.3")
    assert said.ttft_p50_ms == pytest.approx(1000 * statistics.median(one["ttft"] for one in REQUESTS))
    assert said.tpot_mean_ms == pytest.approx(
        1000 * statistics.mean((one["e2e"] - one["ttft"]) / (4 - 1) for one in REQUESTS)
    )
    assert said.ttft_p50_ms < said.ttft_p99_ms <= 1000 * max(one["ttft"] for one in REQUESTS)


def test_rates_count_from_the_first_request_on() -> None:
    """Its own begin with the wait for it."""
    said = servebench.figures(FOUND)
    waited_s = REQUESTS[0]["start"]
    assert said.requests_per_s == pytest.approx(12 / (FOUND["levels"][0]["duration"] - waited_s), rel=0.01)
    assert said.output_tokens_per_s == pytest.approx(4 * said.requests_per_s)


def test_failed_requests_are_counted_and_have_no_part() -> None:
    found = copy.deepcopy(FOUND)
    found["levels"][0]["requests"].append({**REQUESTS[0], "ok": False, "e2e": None, "ttft": None})
    found["levels"][0]["summary"]["failed"] = 1
    assert servebench.figures(found).failed == 1
    assert servebench.figures(found).output_tokens_per_s == servebench.figures(FOUND).output_tokens_per_s
    for one in found["levels"][0]["requests"]:
        one["ok"] = False
    with pytest.raises(LoadTestError, match="no answer"):
        servebench.figures(found)


def test_an_unknown_result_is_refused() -> None:
    with pytest.raises(LoadTestError, match="environment"):
        servebench.figures({"levels": FOUND["levels"]})


def test_it_drew_the_arrivals_that_the_others_are_given() -> None:
    assert isinstance(WORK.load, Rate)
    servebench.check_times(FOUND, schedule(WORK, WORK.load))
    with pytest.raises(LoadTestError, match="another way"):
        servebench.check_times(FOUND, schedule(WORK, Rate(4.0)))
    with pytest.raises(LoadTestError, match="another way"):
        servebench.check_times(FOUND, schedule(WORK, WORK.load)[1:])


@pytest.mark.parametrize(("load", "flag", "value"), [(Streams(3), "--concurrency", "3"), (Rate(0.5), "--rate", "0.5")])
def test_command(load: Streams | Rate, flag: str, value: str, tmp_path: Path) -> None:
    work = Work("http://localhost:1", "m", load, requests=5, arrivals_seed=9)
    command = servebench.command(work, "servebench", tmp_path)
    assert command[command.index(flag) + 1] == value
    assert command[command.index("--seed") + 1] == "9"
    # As many prompts as requests: each is then sent once.
    assert command[command.index("--num-requests") + 1] == "5"
    assert len((tmp_path / "requests.jsonl").read_text().splitlines()) == 5
