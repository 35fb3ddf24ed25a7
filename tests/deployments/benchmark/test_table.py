from __future__ import annotations

import pytest

from deployments.benchmark.table import HEAD, complaints, lines, markdown, notes, peer_cells, quality, rich_tables
from deployments.benchmark.works import WORKS
from tests.deployments.benchmark.measured import result, server


def test_a_line_has_medians_extremes_and_the_ratio_beside_the_articles() -> None:
    line = lines(result())[0]
    assert line.baseline.median == pytest.approx(64 / 3)
    assert line.optimized.median == 128
    assert line.ratio.value == pytest.approx(6)
    scenario, *article, baseline, optimized, ratio, told = line.cells()
    assert scenario == "Text generation, 32 callers (2 of the baseline), 64 tokens each"
    assert article == ["120 tokens/s", "385 tokens/s", "3.2x"]
    assert (baseline, optimized) == ("21.3 (16 to 32) tokens/s", "128 (128 to 256) tokens/s")
    assert ratio.startswith("6.00x [")
    assert "50% of 4 answers" in told


def test_of_latencies_less_is_better_and_the_slowest_are_told() -> None:
    line = next(line for line in lines(result()) if line.work.name == "classification")
    assert (line.baseline.median, line.optimized.median, line.ratio.value) == (3000, 500, 6)
    assert "ms, p99 3,000" in line.cells()[4]


def test_markdown_has_a_line_a_work_and_where_it_was_measured() -> None:
    text = markdown(result())
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert len(rows) == 2 + len(WORKS)
    assert {row.count(" | ") for row in rows} == {len(HEAD) - 1}
    assert "2 cores of a processor" in text
    assert "commit abc, 2026-11-28" in text


def test_peers_have_a_table_of_their_own() -> None:
    found = result()
    assert peer_cells(found) == []
    found["works"]["generation"]["servers"]["llama.cpp"] = server([1.0, 2.0, 1.0], callers=2)
    ((name, callers, theirs, ours, ratio),) = peer_cells(found)
    assert (name, callers, theirs, ours) == ("llama.cpp", "2", "64 (32 to 64)", "128 (128 to 256)")
    assert ratio.startswith("2.00x")
    assert "llama.cpp" in markdown(found)
    assert len(rich_tables(found)) == 2


def test_notes_say_what_the_terminals_table_leaves_out() -> None:
    first, second, *_ = notes(result())
    assert "32 callers (2 of the baseline)" in first
    assert "50% of 4 answers" in first
    assert "p99" in second


def test_a_good_result_is_not_complained_about() -> None:
    assert complaints(result()) == []


def test_a_ratio_under_the_articles_is_told() -> None:
    found = result()
    found["works"]["translation"]["servers"]["optimized"] = server([1.0, 1.0, 1.0], callers=16)
    assert complaints(found) == ["translation: 3.00x is not above the article's 3.4x."]


def test_failures_and_answers_of_other_lengths_are_told() -> None:
    found = result()
    found["works"]["generation"]["servers"]["baseline"] = server([4.0, 2.0, 3.0], callers=2, output_tokens=63)
    sample = found["works"]["translation"]["servers"]["optimized"]["samples"][0]
    sample["figures"] |= {"failed": 2, "failures": ["503"]}
    found["works"]["classification"]["other_prompts"] = 1
    assert complaints(found) == [
        "generation, baseline: answers of 63 to 63 tokens, not of 64.",
        "classification: 1 requests were not as many tokens to both.",
        "translation, optimized: 2 requests failed (503).",
    ]


def test_quality_is_told_of_this_run_and_of_what_was_measured_before() -> None:
    measured = [
        {"variant": "int8-dynamic", "measure": "bleu", "score": 39.4975, "fp32": 39.5021, "date": "2026-11-25T1"}
    ]
    told = quality({"count": 30, "bleu": 98.76, "chrf": 99.1, "same_texts": 0.9}, measured)
    assert told == (
        "against the baseline's 30 translations: 98.8 BLEU, 99.1 chrF, 90% the same; "
        "int8-dynamic: BLEU 39.5, fp32 39.5 (2026-11-25)"
    )
    assert quality({"count": 5, "same_labels": 0.8}, []) == "same label for 80.0% of 5 texts"
