from __future__ import annotations

from pathlib import Path

import pytest

from deployments.benchmark.works import (
    SCENARIOS,
    WORKS,
    Claim,
    callers_for,
    choose_works,
    first_of,
    for_round,
    scenario_of,
    users_of,
)
from deployments.cli.benchmark import OPTIMIZED_CONFIG
from deployments.settings import Settings, load_settings
from engine.errors import ConfigError

GENERATION = WORKS[0]


@pytest.fixture
def settings() -> Settings:
    return load_settings(OPTIMIZED_CONFIG)


def test_every_work_has_a_scenario_for_a_model_of_the_configuration(settings: Settings) -> None:
    users = {work.name: users_of(scenario_of(work, SCENARIOS, settings)) for work in WORKS}
    assert users == {
        "generation": 32,
        "generation-1": 1,
        "classification": 1,
        "classification-8": 8,
        "classification-letters": 1,
        "translation": 16,
    }


def test_the_articles_ratios_are_those_of_its_figures() -> None:
    for work in WORKS:
        if work.article is not None:
            better = (work.article.baseline, work.article.optimized)
            found = better[0] / better[1] if work.lower_is_better else better[1] / better[0]
            assert found == pytest.approx(work.article.ratio, abs=0.06)


def test_lines_and_letters_are_both_held_against_the_article() -> None:
    claims = {work.name: work.article for work in WORKS if work.article and work.task == "classification"}
    assert claims == {"classification": Claim(45, 12, 3.7), "classification-letters": Claim(45, 12, 3.7)}


def test_works_are_chosen_by_task() -> None:
    assert [work.name for work in choose_works(["classification"])] == [
        "classification",
        "classification-letters",
        "classification-8",
    ]
    assert choose_works([]) == WORKS
    with pytest.raises(ConfigError, match="known are generation"):
        choose_works(["sorting"])


def test_other_models_of_the_configuration_are_asked_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("models: [{name: other, source: x}]")
    settings = load_settings(tmp_path / "config.yaml")
    assert scenario_of(GENERATION, SCENARIOS, settings).requests[0].model == "other"
    with pytest.raises(ConfigError, match="--task"):
        first_of(settings, "translation")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"users: 32": "arrivals: poisson, rate: 1"}, "closed loop"),
        ({"warm_up_s: 0": "warm_up_s: 1"}, "warm_up_s"),
        ({"stream: false": "stream: true"}, "stream: false"),
        ({"exact: true": "exact: false"}, "exact: true"),
        ({"output_tokens: 64": "output_tokens: {low: 1, high: 2}"}, "one number"),
        ({"kind: completions": "kind: classify"}, "not for generation"),
    ],
)
def test_a_scenario_that_would_not_be_fair_is_refused(
    settings: Settings, tmp_path: Path, change: dict[str, str], complaint: str
) -> None:
    text = (SCENARIOS / "generation.yaml").read_text()
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "generation.yaml").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        scenario_of(GENERATION, tmp_path, settings)


def test_rounds_differ_in_what_they_ask(settings: Settings) -> None:
    scenario = scenario_of(GENERATION, SCENARIOS, settings)
    first, second = for_round(scenario, 1, 2, 3.0), for_round(scenario, 2, 2, 3.0)
    assert (users_of(first), first.duration_s) == (2, 3.0)
    assert first.seed != second.seed


@pytest.mark.parametrize(
    ("each_s", "at_once", "callers"),
    [(4.0, 1, 2), (1.0, 1, 6), (0.01, 1, 32), (100.0, 1, 2), (100.0, 3, 6), (1.0, 3, 18)],
)
def test_callers_are_as_many_as_are_answered_in_half_a_round(each_s: float, at_once: int, callers: int) -> None:
    assert callers_for(32, 12.0, each_s, at_once) == callers


def test_there_are_never_more_callers_than_asked_for() -> None:
    assert callers_for(1, 12.0, 4.0) == 1
