from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from deployments.benchmark.stored import LARGE, line, make_folder, pack, scenario_kept, write_requests
from engine.errors import ConfigError
from loadtest.record import Record, read_records
from loadtest.scenario import Open, Scenario, load_scenario
from tests.deployments.benchmark.measured import record


def test_requests_are_kept_so_that_the_harness_reads_them(tmp_path: Path) -> None:
    kept = [record(0, 1.0, 2.0, text="Grüße"), record(1, 1.5, 2.5)]
    write_requests(tmp_path / "generation-baseline-1.jsonl.gz", kept)
    assert read_records(tmp_path / "generation-baseline-1.jsonl") == kept


def test_of_a_classified_text_the_label_is_kept_and_of_a_stream_not_its_gaps() -> None:
    answer = json.dumps({"data": [{"label": "card_arrival", "probs": [0.1] * 77}]})
    kept = line(record(3, 1.0000001, 2.1234567, kind="classify", text=answer, gaps_s=[0.1]))
    assert (kept["text"], kept["sent_s"], kept["end_s"]) == ("card_arrival", 1.0, 2.12346)
    assert not {"failure", "gaps_s"} & kept.keys()
    assert Record(**kept).gaps_s == []


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be kept there"):
        make_folder(tmp_path / "file" / "results")


def test_what_is_large_is_compressed_and_what_is_of_another_run_goes(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text("x" * (LARGE + 1))
    (tmp_path / "server.jsonl").write_text("y")
    (tmp_path / "server.jsonl.gz").write_text("older")
    (tmp_path / "locust.log").write_text("z")
    pack(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"requests.jsonl.gz", "server.jsonl"}
    assert gzip.decompress((tmp_path / "requests.jsonl.gz").read_bytes()) == b"x" * (LARGE + 1)


def test_a_scenarios_files_are_kept_by_name() -> None:
    scenario = load_scenario(Path("classification"))
    asked = scenario.requests[0].model_copy(update={"texts": Path("/somewhere/texts.txt")})
    traced = Open(arrivals="trace", trace=Path("/somewhere/times.jsonl"))
    told = scenario_kept(scenario.model_copy(update={"requests": (asked,), "load": traced}))
    assert (told["requests"][0]["texts"], told["load"]["trace"]) == ("texts.txt", "times.jsonl")
    assert scenario_kept(scenario) == scenario.model_dump(mode="json") | {"requests": told_by_name(scenario)}


def told_by_name(scenario: Scenario) -> list[dict[str, Any]]:
    dumped = (one.model_dump(mode="json") for one in scenario.requests)
    return [one | {"texts": one["texts"] and Path(one["texts"]).name} for one in dumped]
