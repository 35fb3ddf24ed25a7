from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from deployments.benchmark.stored import line, present, read_result, store
from deployments.benchmark.table import markdown
from engine.errors import ConfigError
from loadtest.record import Record
from tests.deployments.benchmark.measured import record, result


def test_a_result_is_kept_whole_with_its_requests(tmp_path: Path) -> None:
    kept = [record(0, 1.0, 2.0, text="Grüße"), record(1, 1.5, 2.5)]
    store(tmp_path, result(), {"generation-baseline-1": kept})
    assert read_result(tmp_path) == result()
    assert (tmp_path / "table.md").read_text() == markdown(result())
    lines = gzip.decompress((tmp_path / "generation-baseline-1.jsonl.gz").read_bytes()).decode().splitlines()
    assert [Record(**json.loads(one)) for one in lines] == kept


def test_table_and_picture_come_from_the_result_alone(tmp_path: Path) -> None:
    store(tmp_path, result(), {})
    made = {name: (tmp_path / name).read_bytes() for name in ("table.md", "table.png")}
    for name in made:
        (tmp_path / name).unlink()
    present(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in made} == made


def test_of_a_classified_text_the_label_is_kept() -> None:
    answer = json.dumps({"data": [{"label": "card_arrival", "probs": [0.1] * 77}]})
    kept = line(record(3, 1.0000001, 2.1234567, kind="classify", text=answer))
    assert (kept["text"], kept["sent_s"], kept["end_s"]) == ("card_arrival", 1.0, 2.12346)
    assert "failure" not in kept


def test_a_folder_without_a_result_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"result\.json"):
        present(tmp_path)
