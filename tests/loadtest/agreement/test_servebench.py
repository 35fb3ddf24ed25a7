"""Against a result that servebench 1.1 wrote of an open loop, 12 requests of 4 tokens; without what nobody reads."""

from __future__ import annotations

import copy
import json
import statistics
from dataclasses import replace
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
    servebench.check_times(FOUND, schedule(WORK, WORK.load), 8.0)
    with pytest.raises(LoadTestError, match="another way"):
        servebench.check_times(FOUND, schedule(WORK, Rate(4.0)), 8.0)
    with pytest.raises(LoadTestError, match="another way"):
        servebench.check_times(FOUND, schedule(WORK, WORK.load)[1:], 8.0)


def test_at_a_high_rate_another_schedule_is_not_near_by_chance() -> None:
    """Its intervals are all shorter than 0.02 s."""
    work = replace(WORK, load=Rate(200.0), requests=50)
    due = schedule(work, Rate(200.0))
    requests = [{"index": number, "start": at_s} for number, at_s in enumerate(due)]
    found = {"levels": [{"requests": requests}]}
    servebench.check_times(found, due, 200.0)
    with pytest.raises(LoadTestError, match="another way"):
        servebench.check_times(found, schedule(replace(work, arrivals_seed=1), Rate(200.0)), 200.0)


def test_a_result_that_is_not_there_is_told_with_the_last_words(tmp_path: Path) -> None:
    program = tmp_path / "servebench"
    program.write_text("#!/bin/sh\necho no space on the disk\n")
    program.chmod(0o755)
    (tmp_path / "run").mkdir()
    with pytest.raises(LoadTestError, match=r"wrote no result\. It said: no space on the disk"):
        servebench.run(WORK, str(program), tmp_path / "run")


@pytest.mark.parametrize(("load", "flag", "value"), [(Streams(3), "--concurrency", "3"), (Rate(0.5), "--rate", "0.5")])
def test_command(load: Streams | Rate, flag: str, value: str, tmp_path: Path) -> None:
    work = Work("http://localhost:1", "m", load, requests=5, arrivals_seed=9)
    command = servebench.command(work, "servebench", tmp_path)
    assert command[command.index(flag) + 1] == value
    assert command[command.index("--seed") + 1] == "9"
    # As many prompts as requests: each is then sent once.
    assert command[command.index("--num-requests") + 1] == "5"
    assert len((tmp_path / "requests.jsonl").read_text().splitlines()) == 5
