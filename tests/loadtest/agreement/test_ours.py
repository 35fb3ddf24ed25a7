from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.agreement import ours
from loadtest.agreement.work import Rate, Streams, Work, scenario
from loadtest.scenario import load_scenario


@pytest.mark.parametrize("load", [Streams(3), Rate(2.0)])
def test_the_scenario_is_written_as_it_is_meant(load: Streams | Rate, tmp_path: Path) -> None:
    work = Work("http://localhost:1", "m", load, requests=5, kind="chat")
    command = ours.command(work, "python", tmp_path)
    assert command[1:4] == ["-m", "loadtest", "run"]
    assert load_scenario(Path(command[4])) == scenario(work, tmp_path)
    assert command[command.index("--url") + 1] == "http://localhost:1"


def test_its_result_is_read() -> None:
    keys = {
        "median_ttft_ms": 1.0,
        "p99_ttft_ms": 2.0,
        "mean_tpot_ms": 3.0,
        "median_tpot_ms": 4.0,
        "output_throughput": 5.0,
        "request_throughput": 6.0,
        "completed": 7,
        "failed": 8,
    }
    said = ours.figures(keys, "abc")
    assert said.doubt == ""
    assert ours.figures({**keys, "stageline": {"client": {"verdict": "It was late."}}}, "abc").doubt == "It was late."
    assert (said.ttft_p50_ms, said.ttft_p99_ms, said.tpot_mean_ms, said.tpot_p50_ms) == (1, 2, 3, 4)
    assert (said.output_tokens_per_s, said.requests_per_s, said.completed, said.failed) == (5, 6, 7, 8)
