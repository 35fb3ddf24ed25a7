from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deployments.benchmark.docs import SECTIONS, latest, page, table, write_page
from deployments.benchmark.pages import present
from deployments.benchmark.stored import write_result
from deployments.benchmark.works import WORKS
from tests.deployments.benchmark.measured import result
from tests.deployments.benchmark.test_nodes import RESULT


def store(folder: Path, kept: dict[str, Any]) -> None:
    folder.mkdir()
    write_result(folder, kept)
    present(folder)


def test_without_results_the_page_says_what_does_not_transfer(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert text.startswith("# Benchmarks")
    assert "## What does not transfer to other machines" in text
    assert "## Baseline against optimized" not in text


def test_the_newest_table_is_shown_with_its_picture(tmp_path: Path) -> None:
    store(tmp_path / "2026-11-01-aaa-table", result(commit="older", date="2026-11-01"))
    store(tmp_path / "2026-11-28-bbb-table", result(commit="first", date="2026-11-28T08:00"))
    store(tmp_path / "2026-11-28-bbb-table-2", result(WORKS[:1], commit="second", date="2026-11-28T09:00"))
    store(tmp_path / "2026-11-29-ccc-timetable", result(commit="of another kind", date="2026-11-29"))
    assert latest(tmp_path, "table") == tmp_path / "2026-11-28-bbb-table-2"
    text = page(tmp_path)
    assert "commit second" in text
    assert text.count("| Text generation") == 2  # in the table, and what it costs
    assert "2026-11-28-bbb-table-2/table.png" in text


def test_a_newer_run_that_was_stopped_or_asked_for_less_is_not_shown(tmp_path: Path) -> None:
    store(tmp_path / "2026-11-01-aaa-table", result(date="2026-11-01"))
    store(tmp_path / "2026-11-02-aaa-table", result(date="2026-11-02", complete=False))
    store(tmp_path / "2026-11-03-aaa-table", result(date="2026-11-03", standard=False))
    assert latest(tmp_path, "table") == tmp_path / "2026-11-01-aaa-table"


def test_sections_are_in_order_and_end_with_what_the_tables_machine_has(tmp_path: Path) -> None:
    assert SECTIONS[0] is table
    store(tmp_path / "2026-11-28-aaa-table", result(processor="a processor avx2 avx512_vnni", cores=3))
    store(tmp_path / "2026-11-28-aaa-nodes", RESULT)
    text = page(tmp_path)
    order = ["## Baseline against optimized", "## On several nodes", "## What does not transfer"]
    assert sorted(order, key=text.index) == order
    assert "AVX-512 VNNI here" in text
    assert "On 3 cores it takes some" in text
    store(tmp_path / "2026-11-29-aaa-table", result(date="2026-11-29"))
    assert "none of VNNI and AMX here" in page(tmp_path)


def test_the_comparison_of_clients_says_where_it_was_made(tmp_path: Path) -> None:
    machine = {"date": "2026-11-28T1", "commit": "abc", "cores": 2, "processor": "a processor"}
    work = {"url": "http://server:8000", "model": "m", "kind": "chat", "requests": 120}
    comparison = {"machine": machine, "loads": [{"work": work, "rounds": [{}, {}]}]}
    folder = tmp_path / "2026-01-01-abc-agreement"
    folder.mkdir()
    (folder / "agreement.json").write_text(json.dumps(comparison))
    (folder / "agreement.md").write_text("| a table |")
    text = page(tmp_path)
    assert "commit abc, 2026-11-28, 2 cores of a processor." in text
    assert "--model m --kind chat --requests 120 --rounds 2` on http://server:8000" in text
    assert "| a table |" in text


def test_tables_and_pictures_are_made_again(tmp_path: Path) -> None:
    store(tmp_path / "2026-11-28-aaa-table", result())
    (tmp_path / "2026-11-28-aaa-table" / "table.png").unlink()
    write_page(tmp_path / "page.md", tmp_path)
    assert (tmp_path / "2026-11-28-aaa-table" / "table.png").exists()
    assert "table.png" in (tmp_path / "page.md").read_text()
