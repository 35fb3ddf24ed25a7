from __future__ import annotations

from pathlib import Path

import pytest

from deployments.benchmark.pages import page, present, whole_table
from deployments.benchmark.stored import write_result
from engine.errors import ConfigError
from tests.deployments.benchmark.measured import result
from tests.deployments.benchmark.test_nodes import RESULT


@pytest.mark.parametrize("kept", [result(), RESULT], ids=["table", "nodes"])
def test_table_and_picture_come_from_the_result_alone(kept: dict[str, object], tmp_path: Path) -> None:
    write_result(tmp_path, kept)
    present(tmp_path)
    made = {name: (tmp_path / name).read_bytes() for name in ("table.md", "table.png")}
    for name in made:
        (tmp_path / name).unlink()
    present(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in made} == made
    assert made["table.md"].decode() == page(tmp_path)


def test_what_speaks_against_a_table_stands_under_it() -> None:
    found = result()
    assert "speaks against" not in whole_table(found)
    found["works"]["generation"]["servers"]["optimized"]["samples"][0]["client"]["verdict"] = "The client was late."
    assert whole_table(found).rstrip().endswith("- generation, optimized: The client was late. (in 1 of 3 rounds)")


def test_a_folder_without_a_result_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"result\.json"):
        present(tmp_path)
