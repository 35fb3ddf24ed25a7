from __future__ import annotations

from pathlib import Path

import pytest

from deployments.benchmark.cost import cost_table, million
from deployments.benchmark.docs import page
from deployments.benchmark.works import WORKS
from tests.deployments.benchmark.measured import result
from tests.deployments.benchmark.test_docs import store


def test_a_million_at_a_rate() -> None:
    assert million(1_000_000 / 3600) == pytest.approx(1.0)  # in an hour: an hour's price
    assert million(750) == pytest.approx(0.3704, abs=1e-4)


def test_only_what_has_a_rate_is_shown() -> None:
    rows = cost_table(result()).splitlines()[2:]
    assert len(rows) == sum(not work.lower_is_better for work in WORKS)
    assert any("a million tokens" in row for row in rows)
    assert any("a million sentences" in row for row in rows)
    latencies = tuple(work for work in WORKS if work.lower_is_better)
    assert cost_table(result(latencies)) == ""


def test_the_page_has_it_below_the_table(tmp_path: Path) -> None:
    store(tmp_path / "2026-11-28-aaa-table", result())
    text = page(tmp_path)
    assert text.index("## Baseline against optimized") < text.index("## What a million costs")
    assert "## What a million costs" not in page(tmp_path / "none")
