from __future__ import annotations

from pathlib import Path

import pytest

from deployments.benchmark.scaling import asked_only, summary
from deployments.benchmark.scaling_table import markdown
from deployments.cli.benchmark_common import HERE
from deployments.settings import load_settings
from engine.errors import ConfigError
from loadtest.objective import judge
from loadtest.report import Report
from loadtest.scenario import Percentiles, load_scenario
from loadtest.summary import summarize
from tests.deployments.benchmark.measured import ORIGIN
from tests.deployments.benchmark.test_phases import RECORDS, SAMPLES, SCENARIO

SETTINGS = load_settings(HERE / "scaling.yaml")


def test_only_the_models_that_are_asked_are_served() -> None:
    assert [model.name for model in asked_only(SETTINGS, load_scenario(Path("step")))] == ["smollm2"]
    assert {model.name for model in asked_only(SETTINGS, load_scenario(Path("day")))} == {"smollm2", "intents", "en-de"}
    with pytest.raises(ConfigError, match="asks for m;"):
        asked_only(SETTINGS, SCENARIO)


def test_requests_of_each_of_its_models_may_move() -> None:
    for model in SETTINGS.models:
        assert len(model.variants) == 2, model.name
    assert any(variant.replicas.min == 0 for model in SETTINGS.models for variant in model.variants), "some may sleep"


def test_the_table_has_a_column_for_each_phase_and_says_whether_the_objective_was_kept() -> None:
    objective = SCENARIO.objective.model_copy(update={"ttft_ms": Percentiles(p99=300), "failed": 0.5})
    scenario = SCENARIO.model_copy(update={"objective": objective})
    found = summarize(RECORDS, scenario)
    report = Report(found, judge(objective, found))
    result = {
        **ORIGIN,
        "client": {"verdict": "The client was late."},
        "scenario": scenario.model_dump(mode="json"),
        **summary(report, RECORDS, SAMPLES, scenario),
    }
    text = markdown(result)
    assert "5 requests, of which 2 failed (1 of kind 503, 1 of kind timeout)" in text
    assert "2 by m:bf16, 1 by m:int8-dynamic" in text
    assert "Objective not kept. The client was late." in text
    assert "TTFT p99: 396 ms, at most 300 ms: not kept" in text
    assert "Goodput (TTFT within 300 ms): 40% of all requests" in text
    assert "|  | 0 to 2 s | 2 to 5 s |" in text
    assert "| within the objective | 100% | 25% |" in text
    assert "| m:bf16: answers, most replicas | 1, 1 | 1, 1 |" in text
    assert "m:int8 0 from 0 s, 1 from 2 s, 2 from 4 s, 1 from 4 s" in text
    assert "other answers" not in text
