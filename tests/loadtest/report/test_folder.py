from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from loadtest.errors import LoadTestError
from loadtest.report.folder import Mark, read_run
from tests.loadtest.synthetic import MARKS, make_run, mixed, records, samples


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path))
    assert run.scenario == mixed()
    assert list(run.records) == records()
    assert list(run.samples) == samples()
    assert [mark.what for mark in run.marks] == [mark["what"] for mark in MARKS]
    assert run.marks[2] == Mark(63.5, None, "streams resumed")
    assert run.bottleneck == ""


def test_a_run_whose_large_files_were_compressed_is_read_as_well(tmp_path: Path) -> None:
    make_run(tmp_path)
    for name in ("requests.jsonl", "server.jsonl"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    run = read_run(tmp_path)
    assert list(run.records) == records()
    assert list(run.samples) == samples()


def test_samples_and_marks_may_be_missing(tmp_path: Path) -> None:
    make_run(tmp_path)
    for name in ("server.jsonl", "marks.jsonl"):
        (tmp_path / name).unlink()
    run = read_run(tmp_path)
    assert (run.samples, run.marks) == ((), ())


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    make_run(tmp_path)
    with (tmp_path / "server.jsonl").open("a") as file:
        file.write('{"at_s": 112.0, "mod')
    assert list(read_run(tmp_path).samples) == samples()
    with (tmp_path / "server.jsonl").open("a") as file:
        file.write("\n{}\n")
    with pytest.raises(LoadTestError, match=r"server\.jsonl:225: not JSON"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", ["scenario.yaml", "run.json", "requests.jsonl"])
def test_a_folder_that_is_none_of_a_run(tmp_path: Path, name: str) -> None:
    make_run(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(LoadTestError, match=name):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"start_s": "now"}', "null"])
def test_a_run_that_does_not_tell_of_itself(tmp_path: Path, text: str) -> None:
    (make_run(tmp_path) / "run.json").write_text(text)
    with pytest.raises(LoadTestError, match=r"run\.json: not what a run tells"):
        read_run(tmp_path)


@pytest.mark.parametrize("mark", [{}, {"at_s": 1}, {"at_s": "x", "what": "y"}, [1]])
def test_marks_that_are_none(tmp_path: Path, mark: object) -> None:
    (make_run(tmp_path) / "marks.jsonl").write_text(json.dumps(mark) + "\n")
    with pytest.raises(LoadTestError, match="not a mark"):
        read_run(tmp_path)
