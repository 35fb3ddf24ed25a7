"""What is started for a table, and what is not; nothing runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from deployments.benchmark import run
from deployments.benchmark.kept import Kept
from deployments.benchmark.run import Plan, bench_table
from deployments.benchmark.servers import Running
from deployments.benchmark.works import SCENARIOS, choose_works
from deployments.cli.benchmark import OPTIMIZED_CONFIG
from deployments.settings import Settings, load_settings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The models of each server that would have been started, and of what would have been fetched."""
    found: list[list[str]] = []

    @contextmanager
    def server(config: Path) -> Iterator[Running]:
        found.append([model.name for model in load_settings(config).models])
        yield Running("http://here", 1)

    def fetch(settings: Settings, console: Console) -> dict[str, Path]:
        found.append([model.name for model in settings.models])
        return {}

    for name, fake in (("baseline", server), ("stageline", server), ("fetch_models", fetch)):
        monkeypatch.setattr(run, name, fake)
    monkeypatch.setattr(run, "take_turns", lambda *_: {})
    monkeypatch.setattr(run, "baseline_facts", lambda url, scenario: {})
    return found


def plan(**more: object) -> Plan:
    return Plan(choose_works(["translation"]), SCENARIOS, 3, **more)  # type: ignore[arg-type]


def test_nobody_loads_a_model_that_is_not_asked(started: list[list[str]], tmp_path: Path) -> None:
    bench_table(plan(), load_settings(OPTIMIZED_CONFIG), Console(quiet=True), Kept(tmp_path, {}))
    assert started == [["en-de"]] * 3


def test_where_both_run_already_nothing_is_started(started: list[list[str]], tmp_path: Path) -> None:
    both = plan(urls=("http://a", "http://b"))
    bench_table(both, load_settings(OPTIMIZED_CONFIG), Console(quiet=True), Kept(tmp_path, {}))
    assert started == []
