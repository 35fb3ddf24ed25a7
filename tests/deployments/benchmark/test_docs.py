from __future__ import annotations

from pathlib import Path

from deployments.benchmark.docs import SECTIONS, latest, page, table
from deployments.benchmark.stored import store
from deployments.benchmark.works import WORKS
from tests.deployments.benchmark.measured import result


def test_without_results_the_page_says_what_does_not_transfer(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert text.startswith("# Benchmarks")
    assert "## What does not transfer to other machines" in text
    assert "## Baseline against optimized" not in text


def test_the_newest_table_is_shown_with_its_picture(tmp_path: Path) -> None:
    store(tmp_path / "2026-11-01-aaa-table", result(commit="older", date="2026-11-01"), {})
    store(tmp_path / "2026-11-28-bbb-table", result(commit="first", date="2026-11-28T08:00"), {})
    store(tmp_path / "2026-11-28-bbb-table-2", result(WORKS[:1], commit="second", date="2026-11-28T09:00"), {})
    store(tmp_path / "2026-11-29-ccc-timetable", result(commit="of another kind", date="2026-11-29"), {})
    assert latest(tmp_path, "table") == tmp_path / "2026-11-28-bbb-table-2"
    text = page(tmp_path)
    assert "commit second" in text
    assert text.count("| Text generation") == 1
    assert "2026-11-28-bbb-table-2/table.png" in text


def test_sections_are_in_order(tmp_path: Path) -> None:
    assert SECTIONS[0] is table
    store(tmp_path / "2026-11-28-aaa-table", result(), {})
    text = page(tmp_path)
    assert text.index("## Baseline against optimized") < text.index("## What does not transfer")
