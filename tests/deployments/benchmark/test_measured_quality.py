from __future__ import annotations

from deployments.benchmark.measured_quality import measured_quality
from deployments.cli.benchmark import OPTIMIZED_CONFIG
from deployments.settings import load_settings


def test_the_score_beside_fp32s_is_that_of_the_variants_that_answered() -> None:
    settings = load_settings(OPTIMIZED_CONFIG)
    (found,) = measured_quality(settings, "classification", ["int8-dynamic"])
    assert (found["variant"], found["measure"], found["data"]) == ("int8-dynamic", "accuracy", ["test.csv"])
    assert 0.9 < found["score"] <= 1
    assert 0.9 < found["fp32"] <= 1
    assert found["date"].startswith("20")
    assert measured_quality(settings, "classification", ["fp32"]) == []
