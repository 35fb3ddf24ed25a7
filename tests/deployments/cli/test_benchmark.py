from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.benchmark import docs, run
from deployments.benchmark.kept import Kept
from deployments.benchmark.run import Plan
from deployments.benchmark.stored import read_result
from deployments.benchmark.works import WORKS
from deployments.cli import app
from deployments.cli.benchmark_common import without_key
from engine.errors import ConfigError, EngineFailed
from loadtest.errors import LoadTestError
from tests.deployments.benchmark.measured import ORIGIN, record, result, server

invoke = CliRunner().invoke


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """What would have been measured; the result is a good one."""
    seen: list[Plan] = []

    def bench_table(plan: Plan, settings: Any, console: Any, kept: Kept) -> None:
        seen.append(plan)
        kept.requests("generation-baseline-1", [record(0, 0.0, 1.0)])
        kept.result({name: value for name, value in result().items() if name not in ORIGIN})

    monkeypatch.setattr(run, "bench_table", bench_table)
    return seen


def test_a_good_table_is_kept_and_ends_well(plans: list[Plan], tmp_path: Path) -> None:
    done = invoke(app, ["benchmark", "--rounds", "2", "--seconds", "3", "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "out")
    found = read_result(tmp_path / "out")
    assert found["works"] == result()["works"]
    assert found.keys() >= {"command", "configuration", "standard"}
    assert {one.name for one in (tmp_path / "out").iterdir()} == {
        "result.json",
        "table.md",
        "table.png",
        "generation-baseline-1.jsonl.gz",
    }
    (plan,) = plans
    assert (plan.rounds, plan.seconds, len(plan.works), plan.urls) == (2, 3.0, len(WORKS), None)


def test_a_ratio_under_the_articles_is_status_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = result()
    slow["works"]["translation"]["servers"]["optimized"] = server([4.0, 4.0, 4.0], callers=16)
    monkeypatch.setattr(run, "bench_table", lambda plan, settings, console, kept: kept.result(slow))
    done = invoke(app, ["benchmark", "--output", str(tmp_path)])
    assert done.exit_code == 1
    assert "is below the article's 3.4x" in done.stderr


def test_servers_that_run_already_are_named(plans: list[Plan], tmp_path: Path) -> None:
    options = ["--url", "http://a", "--baseline-url", "http://b", "--baseline-replicas", "3", "--task", "generation"]
    options += ["--api-key", "secret"]
    peers = ["--peer", "x=http://c", "--peer-command", "y=serve {port}"]
    assert invoke(app, ["benchmark", *options, *peers, "--output", str(tmp_path)]).exit_code == 0
    (plan,) = plans
    assert (plan.urls, plan.baseline_at_once, plan.api_key) == (("http://b", "http://a"), 3, "secret")
    assert [peer.name for peer in plan.peers] == ["x", "y"]
    assert [work.name for work in plan.works] == ["generation", "generation-1"]


def test_the_command_is_kept_without_the_key() -> None:
    assert without_key(["benchmark", "--api-key", "secret", "--url", "x", "--api-key=secret"]) == [
        "benchmark",
        "--api-key",
        "...",
        "--url",
        "x",
        "--api-key=...",
    ]


@pytest.mark.parametrize(
    ("options", "standard"),
    [([], True), (["--rounds", "6"], True), (["--rounds", "5"], False), (["--seconds", "1"], False),
     (["--task", "translation"], False), (["--url", "http://a", "--baseline-url", "http://b"], False)],
)  # fmt: skip
def test_only_a_whole_run_with_the_standard_arguments_is_for_the_page(
    plans: list[Plan], tmp_path: Path, options: list[str], standard: bool
) -> None:
    invoke(app, ["benchmark", *options, "--output", str(tmp_path)])
    assert read_result(tmp_path)["standard"] is standard


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--task", "sorting"], "known are generation"),
        (["--task", "translation", "--peer", "x=http://c"], "Peers generate"),
        (["--peer", "x"], "NAME=URL"),
        (["--peer", "x=http://c", "--peer", "x=http://d"], "Two servers"),
        (["--url", "http://a"], "go together"),
        (["--baseline-url", "http://a"], "go together"),
        (["--baseline-replicas", "2"], "give --baseline-url"),
        (["--output", "/dev/null/here"], "cannot be kept there"),
    ],
)
def test_what_cannot_be_measured_is_told(plans: list[Plan], options: list[str], complaint: str) -> None:
    done = invoke(app, ["benchmark", *options])
    assert isinstance(done.exception, ConfigError)
    assert complaint in done.exception.message
    assert plans == []


def test_what_is_not_installed_is_told_before_anything_starts(
    plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("deployments.cli.benchmark_common")
    monkeypatch.setattr(module.require, "__defaults__", (("json", "no_such_package"),))
    for part in ([], ["nodes"], ["scaling"], ["faults"]):
        done = invoke(app, ["benchmark", *part])
        assert isinstance(done.exception, ConfigError)
        assert "no_such_package" in done.exception.message
    assert plans == []


def test_the_harness_own_errors_are_told_as_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def bench_table(*_: Any) -> Any:
        raise LoadTestError("the client did not end")

    monkeypatch.setattr(run, "bench_table", bench_table)
    done = invoke(app, ["benchmark", "--output", str(tmp_path)])
    assert isinstance(done.exception, EngineFailed)
    assert done.exception.message == "the client did not end"


def test_the_page_is_written_from_the_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written: list[bool] = []
    monkeypatch.setattr(docs, "RESULTS", tmp_path)
    monkeypatch.setattr(docs, "write_page", lambda: written.append(True))
    assert invoke(app, ["benchmark", "docs"]).exit_code == 0
    assert written == [True]
    monkeypatch.setattr(docs, "RESULTS", tmp_path / "none")
    assert isinstance(invoke(app, ["benchmark", "docs"]).exception, ConfigError)
