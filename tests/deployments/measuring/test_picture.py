"""The picture's points, and what lies beside a variant."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.measuring.picture import draw, points, siblings
from deployments.quality import FILE, Quality, Side, write_quality
from engine.config import Precision
from tests.deployments.measured import quality


def fast(precision: Precision, speed: float, perplexity: float) -> Quality:
    one = quality(precision=precision, scores={"perplexity": perplexity})
    scores = {"perplexity": perplexity}
    side = Side(precision=precision, scores=scores, size_bytes=1, speed={"tokens_per_s_1": 9, "tokens_per_s_32": speed})
    other = one.reference.model_copy(update={"speed": {"tokens_per_s_1": 3, "tokens_per_s_32": 10.0}})
    return one.model_copy(update={"variant": side, "reference": other})


def test_speed_is_told_against_the_same_run(tmp_path: Path) -> None:
    slow = quality(precision="bf16").model_copy(update={"variant": Side(precision="bf16", scores={}, size_bytes=1)})
    shown, found = points([fast("int8-dynamic", 40, 25), fast("int4-weight", 50, 40), slow])
    assert shown == "tokens_per_s_32"
    assert found == {
        "fp32": (1, 0),
        "int8-dynamic": (4, pytest.approx(20)),
        "int4-weight": (5, pytest.approx(50)),
    }
    assert points([slow]) == ("", {})
    assert not draw([slow], tmp_path / "a.png")
    assert draw([fast("int8-dynamic", 40, 25)], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_other_models_and_damaged_files_are_left_out(tmp_path: Path) -> None:
    mine = fast("int8-dynamic", 40, 25)
    others = (mine.model_copy(update={"model": "other"}), mine.model_copy(update={"base": "c" * 64}))
    for name, one in zip(("a", "b", "c"), (mine, *others), strict=True):
        (tmp_path / name).mkdir()
        write_quality(one, tmp_path / name)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / FILE).write_text("{")
    assert siblings(tmp_path, mine) == [mine]
