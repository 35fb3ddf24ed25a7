"""quality.json: what is written is read, damage is told, and how much of the quality is kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.quality import FILE, read_quality, retained, write_quality
from deployments.settings import Task
from engine.errors import ConfigError
from tests.deployments.measured import SCORES, changed, quality


@pytest.mark.parametrize("perplexity", [19.5, math.inf])
def test_what_is_written_is_read(tmp_path: Path, perplexity: float) -> None:
    written = quality(scores={"perplexity": perplexity})
    write_quality(written, tmp_path)
    assert read_quality(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_perplexity_that_is_no_number_survives(tmp_path: Path) -> None:
    write_quality(quality(scores={"perplexity": math.nan}), tmp_path)
    found = read_quality(tmp_path)
    assert found is not None
    assert math.isnan(found.variant.scores["perplexity"])
    assert found.retained == 0


def test_no_file_is_no_measurement(tmp_path: Path) -> None:
    assert read_quality(tmp_path) is None
    assert read_quality(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "damaged"),
        (json.dumps(changed())[:200], "damaged"),
        (json.dumps(changed(format=2)), "format: "),
        (json.dumps(changed(kl="much")), "kl: "),
        (json.dumps(changed(more=1)), "more: "),
        (json.dumps(changed(data=[])), "data: "),
        (json.dumps(changed(task="embedding")), "the same scores, among them cosine"),
        (json.dumps({k: v for k, v in changed().items() if k != "base"}), "base: Field required"),
    ],
)
def test_damage_is_told(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_quality(tmp_path)
    assert str(tmp_path / FILE) in str(caught.value)


@pytest.mark.parametrize(
    ("task", "scores", "expected"),
    [
        ("text-generation", {"perplexity": 25.0}, 0.8),
        ("text-generation", {"perplexity": 19.0}, 1.0),
        ("text-classification", {"accuracy": 0.465}, 0.5),
        ("translation", {"bleu": 27.0, "bleu_4_beams": 1.0}, 0.75),
        ("embedding", {"cosine": 0.97}, 0.97),
        ("embedding", {"cosine": -0.5}, 0.0),
    ],
)
def test_retained_is_the_share_of_the_score(task: Task, scores: dict[str, float], expected: float) -> None:
    assert quality(task, scores).retained == pytest.approx(expected)


@given(st.sampled_from(sorted(SCORES)), st.floats(), st.floats())
def test_retained_is_a_share_whatever_was_measured(task: Task, ours: float, theirs: float) -> None:
    measure = next(iter(SCORES[task]))
    assert 0 <= retained(task, {measure: ours}, {measure: theirs}) <= 1
