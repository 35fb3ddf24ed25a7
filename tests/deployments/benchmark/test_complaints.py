from __future__ import annotations

from typing import Any

from deployments.benchmark.complaints import complaints, doubts
from tests.deployments.benchmark.measured import result, server


def with_server(work: str, name: str, **more: Any) -> dict[str, Any]:
    found = result()
    found["works"][work]["servers"][name] |= more
    return found


def test_a_good_result_is_not_complained_about() -> None:
    assert complaints(result()) == []
    assert doubts(result()) == []


def test_a_ratio_must_be_above_the_articles_in_every_round() -> None:
    found = result()
    found["works"]["translation"]["servers"]["optimized"] = server([2.0, 1.0, 2.0], callers=16)
    found["works"]["generation"]["servers"]["optimized"] = server([2.0, 0.5, 1.0], callers=32)
    assert complaints(found) == [
        "generation: 3.00x [2.00 to 4.00] is not told apart from the article's 3.2x.",
        "translation: 2.00x [1.50 to 2.00] is below the article's 3.4x.",
    ]


def test_failures_and_answers_of_other_lengths_are_told() -> None:
    found = with_server("classification", "optimized", other_prompts=1)
    found["works"]["generation"]["servers"]["baseline"] = server([4.0, 2.0, 3.0], callers=2, output_tokens=63)
    sample = found["works"]["translation"]["servers"]["optimized"]["samples"][0]
    sample["figures"] |= {"failed": 2, "failures": ["503"]}
    assert complaints(found) == [
        "generation, baseline: answers of 63 to 63 tokens, not of 64.",
        "classification: 1 requests were not as many tokens to both.",
        "translation, optimized: 2 requests failed (503).",
    ]
    found["works"]["generation"]["scenario"]["requests"][0]["kind"] = "chat"
    assert complaints(found)[0] == "generation, baseline: answers of 63 to 63 tokens, not of 64."


def test_a_baseline_that_callers_slow_down_is_no_baseline() -> None:
    assert complaints(with_server("translation", "baseline", alone_per_s=0.6)) == []
    assert complaints(with_server("translation", "baseline", alone_per_s=1.0)) == [
        "translation, baseline: with 1 callers 0.5 requests/s at most, with one 1: its figures are too low."
    ]


def test_what_the_client_says_against_itself_is_told_and_counts_where_it_is_most_rounds() -> None:
    found = result()
    samples = found["works"]["classification"]["servers"]["optimized"]["samples"]
    samples[1]["client"]["verdict"] = "The client was late."
    assert complaints(found) == []
    assert doubts(found) == ["classification, optimized: The client was late. (in 1 of 3 rounds)"]
    samples[2]["client"]["verdict"] = "The client was late."
    assert complaints(found) == ["classification, optimized: The client was late. (in 2 of 3 rounds)"]
