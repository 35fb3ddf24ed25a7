from __future__ import annotations

from pathlib import Path

from deployments.benchmark.kept import Kept
from deployments.benchmark.origin import origin
from deployments.benchmark.stored import read_result
from deployments.cli.benchmark import OPTIMIZED_CONFIG
from tests.deployments.benchmark.measured import ORIGIN, record, result


def test_what_was_measured_is_there_before_the_end(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "new" / "folder", {"commit": "at the start"})
    kept.requests("generation-baseline-1", [record(0, 0.0, 1.0)])
    assert [one.name for one in kept.folder.iterdir()] == ["generation-baseline-1.jsonl.gz"]
    kept.result({**result(rounds=1, complete=False), "commit": "later"})
    kept.result(result())
    assert read_result(kept.folder) == {"commit": "at the start", **result()}
    assert (kept.folder / "table.md").exists()


def test_a_result_of_another_run_does_not_stay_beside_this_ones_requests(tmp_path: Path) -> None:
    Kept(tmp_path, ORIGIN).result(result())
    Kept(tmp_path, ORIGIN)
    assert not (tmp_path / "result.json").exists()


def test_the_origin_has_the_command_and_the_configurations_text() -> None:
    about = origin("stageline benchmark --rounds 2", OPTIMIZED_CONFIG, standard=False, urls={"optimized": "http://a"})
    assert (about["command"], about["standard"], about["config"]) == (
        "stageline benchmark --rounds 2",
        False,
        "optimized.yaml",
    )
    assert about["configuration"] == OPTIMIZED_CONFIG.read_text()
    assert about["urls"] == {"optimized": "http://a"}
    assert about.keys() >= ORIGIN.keys()
