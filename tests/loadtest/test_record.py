from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from loadtest.errors import LoadTestError
from loadtest.record import Record, read_records, write_records


def test_what_is_written_is_read_in_the_order_of_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    late = Record(1, "chat", "m", 2.0, sent_s=2.1, gaps_s=[0.1], failure="cut", text="ü\u2028")
    early = Record(0, "chat", "m", 1.0)
    write_records(path, [late])
    write_records(path, [early])
    assert read_records(path) == [early, late]


def test_half_a_character_loses_no_records(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    found = [Record(0, "chat", "m", 1.0, text="\ud800"), Record(1, "chat", "m", 2.0)]
    write_records(path, found)
    assert read_records(path) == found


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="no such file"):
        read_records(tmp_path / "requests.jsonl")
    (tmp_path / "requests.jsonl").write_text('{"number": 1}\n')
    with pytest.raises(LoadTestError, match=r"jsonl:1"):
        read_records(tmp_path / "requests.jsonl")


def test_a_file_that_was_compressed_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    write_records(path, [Record(0, "chat", "m", 1.0, text="ü\u2028"), Record(1, "chat", "m", 2.0)])
    found = read_records(path)
    (tmp_path / "requests.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert read_records(path) == found
