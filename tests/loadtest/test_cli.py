"""What the commands make of runs; the runs themselves are in `test_run.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from loadtest import cli
from loadtest.objective import Verdict
from loadtest.report import Report, pictures
from loadtest.run import Trial
from loadtest.scenario import Open
from loadtest.summary import summarize
from tests.loadtest.synthetic import mixed, records

Judge = Callable[[float], tuple[bool, str]]


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, Path]]:
    """Searches with runs that nobody makes: of each, whether the objective was kept and why the client was to blame."""
    summary = summarize(records()[::4], mixed())

    def search(judge: Judge, objective: dict[str, Any], *more: str) -> tuple[int, str, Path]:
        def run(trial: Trial, *_: Any, **__: Any) -> tuple[Report, str]:
            assert isinstance(trial.scenario.load, Open)
            assert trial.scenario.load.rate is not None
            trial.folder.mkdir(parents=True)
            kept, verdict = judge(trial.scenario.load.rate)
            return Report(summary, Verdict(kept, ())), verdict

        monkeypatch.setattr(cli, "_run", run)
        given = {
            "name": "s",
            "requests": [{"kind": "chat", "model": "m"}],
            "load": {"arrivals": "constant", "rate": 1},
            "duration_s": 2.0,
            "objective": objective,
        }
        path, out = tmp_path / "s.yaml", tmp_path / "out"
        path.write_text(yaml.safe_dump(given))
        ended = CliRunner().invoke(cli.app, ["search", str(path), "--output", str(out), "--precision", "1", *more])
        return ended.exit_code, ended.output, out

    return search


def test_a_search_keeps_what_it_found(searched: Callable[..., tuple[int, str, Path]]) -> None:
    status, output, out = searched(lambda rate: (rate <= 4, ""), {"failed": 0})
    assert status == 0
    assert "The objective is kept up to 4 requests/s." in output
    found = json.loads((out / "search.json").read_text())
    assert found["kept_up_to"] == 4
    assert found["tried"] == [{"rate": rate, "kept": rate <= 4} for rate in (1, 2, 4, 8)]


def test_a_search_without_matplotlib_says_what_it_found(
    searched: Callable[..., tuple[int, str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "can_draw", lambda: False)
    status, output, out = searched(lambda rate: (rate <= 4, ""), {"failed": 0})
    assert status == 0
    assert "The objective is kept up to 4 requests/s." in output
    assert "Pictures need matplotlib" in output
    assert (out / "search.json").exists()
    assert not (out / "curve.png").exists()


def test_a_limit_of_the_client_is_not_told_for_the_servers(searched: Callable[..., tuple[int, str, Path]]) -> None:
    status, output, out = searched(lambda rate: (rate <= 2, "It was late." if rate > 2 else ""), {"failed": 0})
    assert status == 2
    assert (
        "At 4/s the limit was the client's, not the server's. It was late. The objective was kept up to 2/s." in output
    )
    assert json.loads((out / "search.json").read_text())["kept_up_to"] == 2


@pytest.mark.parametrize("objective", [{}, {"within": {"ttft_ms": 100}}])
def test_without_a_promise_there_is_nothing_to_search(
    objective: dict[str, Any], searched: Callable[..., tuple[int, str, Path]]
) -> None:
    status, output, out = searched(lambda rate: (True, ""), objective)
    assert status == 2
    assert "promises nothing" in output
    assert not out.exists()


def test_a_search_ends_before_runs_without_a_request(searched: Callable[..., tuple[int, str, Path]]) -> None:
    status, output, out = searched(lambda rate: (False, ""), {"failed": 0})
    assert status == 1
    assert "No rate kept the objective." in output
    assert [one["rate"] for one in json.loads((out / "search.json").read_text())["tried"]] == [1, 0.5]
