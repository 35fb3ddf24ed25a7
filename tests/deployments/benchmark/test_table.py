from __future__ import annotations

import pytest

from deployments.benchmark.table import HEAD, lines, markdown, quality
from deployments.benchmark.works import WORKS
from tests.deployments.benchmark.measured import result


def test_a_line_has_medians_extremes_and_the_ratio_beside_the_articles() -> None:
    line = lines(result())[0]
    assert line.baseline.median == pytest.approx(64 / 3)
    assert line.optimized.median == 128
    assert (line.ratio.value, line.ratio.low, line.ratio.high) == pytest.approx((8, 6, 8))
    scenario, *article, baseline, optimized, ratio, standing, told = line.cells()
    assert scenario == "Text generation, 32 callers (2 of the baseline), 64 tokens each"
    assert article == ["120 tokens/s", "385 tokens/s", "3.2x"]
    assert (baseline, optimized) == ("21.3 (16 to 32) tokens/s", "128 (128 to 256) tokens/s")
    assert (ratio, standing) == ("8.00x [6.00 to 8.00]", "above")
    assert "50% of 4 answers" in told


def test_of_latencies_less_is_better_and_the_slowest_are_told() -> None:
    line = next(line for line in lines(result()) if line.work.name == "classification")
    assert (line.baseline.median, line.optimized.median, line.ratio.value) == (3000, 500, 8)
    assert "ms, p99 3,000" in line.cells()[4]


def test_markdown_has_a_line_a_work_and_where_it_was_measured() -> None:
    text = markdown(result())
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert len(rows) == 2 + len(WORKS)
    assert {row.count(" | ") for row in rows} == {len(HEAD) - 1}
    assert "2 cores of a processor" in text
    assert "commit abc, 2026-11-28" in text


def test_where_the_figures_come_from_can_be_repeated() -> None:
    told = markdown(result())
    assert told.startswith(
        "`stageline benchmark`: commit abc, 2026-11-28, 2 cores of a processor, 8.0 GiB, torch 2.13."
    )
    assert (
        "Threads: 2; the baseline's (in brackets what its tries took): 1 (with 1 2.5 s, with 2 3 s) for generation, "
        in told
    )
    elsewhere = markdown(result(urls={"optimized": "http://a:8000"}))
    assert "8.0 GiB (the client's: the server's is another, at http://a:8000)" in elsewhere
    assert "stopped before its last round" in markdown(result(complete=False))


def test_quality_is_told_of_this_run_and_of_what_was_measured_before() -> None:
    measured = [
        {
            "variant": "int8-dynamic",
            "measure": "bleu",
            "score": 39.4975,
            "fp32": 39.5021,
            "date": "2026-11-25T1",
            "data": ["test.en"],
        }
    ]
    told = quality({"count": 30, "bleu": 98.76, "chrf": 99.1, "same_texts": 0.9}, measured)
    assert told == (
        "against the baseline's 30 translations: 98.8 BLEU, 99.1 chrF, 90% the same; "
        "int8-dynamic: BLEU 39.5, fp32 39.5 (on test.en, 2026-11-25)"
    )
    assert quality({"count": 5, "same_labels": 0.8}, []) == "same label for 80.0% of 5 texts"
