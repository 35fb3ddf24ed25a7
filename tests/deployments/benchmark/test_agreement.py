from __future__ import annotations

import json

import pytest

from deployments.benchmark.agreement import agreement, pairs
from tests.deployments.benchmark.measured import record


def classified(*names: str) -> str:
    return json.dumps({"data": [{"label": name, "probs": [0.5]} for name in names]})


def test_answers_are_matched_by_what_was_asked_each_question_once() -> None:
    asked = {0: "one", 1: "two", 2: "one", 3: "three"}
    theirs = [record(0, 0, 1, text="a"), record(1, 0, 1, text="b"), record(3, 0, 1, text="c", failure="cut")]
    ours = [record(2, 0, 1, text="A"), record(1, 0, 1, text="B"), record(3, 0, 1, text="C")]
    assert pairs(asked, theirs, ours) == {"one": ("a", "A"), "two": ("b", "B")}


def test_labels_are_compared_and_not_their_probabilities() -> None:
    found = agreement(
        "classification", [(classified("x"), classified("x")), (classified("x", "y"), classified("x", "z"))]
    )
    assert found == {"count": 2, "same_labels": 0.5}


def test_generated_texts_agree_up_to_the_first_other_word() -> None:
    found = agreement("generation", [("a b c d", "a b x d"), ("a b", "a b"), ("", "")])
    assert found == {"count": 3, "same_texts": pytest.approx(2 / 3), "same_words": pytest.approx(4 / 6)}


def test_translations_are_scored_with_the_baselines_as_reference() -> None:
    same = json.dumps({"translatedText": "Ein Mann spielt heute Gitarre."})
    other = json.dumps({"translatedText": ["Zwei Hunde laufen über die Wiese."]})
    found = agreement("translation", [(same, same)])
    assert (found["count"], found["same_texts"]) == (1, 1.0)
    assert found["bleu"] == pytest.approx(100)
    assert found["chrf"] == pytest.approx(100)
    worse = agreement("translation", [(same, same), (same, other)])
    assert worse["bleu"] < 60
    assert worse["same_texts"] == 0.5


def test_without_common_answers_nothing_is_told() -> None:
    assert agreement("translation", []) == {}
