"""The command, with a stand-in for each program: what counts here is who is run, and what is made of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from loadtest.agreement import aiperf, cli, ours, rounds, servebench
from loadtest.agreement.figures import Figures
from loadtest.agreement.work import Rate, Work
from loadtest.errors import LoadTestError

SAID = Figures(100.0, 200.0, 10.0, 10.0, 50.0, 2.0, completed=9, failed=0, version="1")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Work]]:
    """Who did what. aiperf says 3% more than the others where the loop is open."""
    done: list[tuple[str, Work]] = []

    def stand_in(name: str, more: float) -> Callable[[Work, str, Path], Figures]:
        def run(work: Work, program: str, folder: Path) -> Figures:
            assert folder.is_dir()
            done.append((program, work))
            return replace(SAID, ttft_p50_ms=100.0 * (1 + more * isinstance(work.load, Rate)))

        return run

    for module, more in ((ours, 0.0), (aiperf, 0.03), (servebench, 0.0)):
        monkeypatch.setattr(module, "run", stand_in(module.__name__, more))
    monkeypatch.setattr(rounds, "_warm_up", lambda work: None)
    return done


def invoke(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(cli.agree)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_clients_take_turns_and_the_results_are_kept(ran: list[tuple[str, Work]], tmp_path: Path) -> None:
    folders = ("--aiperf", "a/bin", "--servebench", "s/bin", "--output", str(tmp_path))
    status, output = invoke(*folders, "--rounds", "3", "--rate", "2", "--no-control")
    assert status == 0
    names = ["ours" if program == sys.executable else Path(program).name for program, _ in ran[:9]]
    assert names == ["ours", "aiperf", "servebench", "aiperf", "servebench", "ours", "servebench", "ours", "aiperf"]
    assert "| TTFT p50, ms | 100.0 | 103.0 | +3.0% | 100.0 | +0.0% |" in output
    assert set((tmp_path / "agreement.md").read_text().splitlines()) <= set(output.splitlines())
    content = json.loads((tmp_path / "agreement.json").read_text())
    assert [one["title"] for one in content["loads"]] == [
        "Closed loop, 4 streams",
        "Open loop, 2 requests/s, Poisson",
    ]
    assert len(content["loads"][0]["rounds"]) == 3


def test_the_status_says_whether_they_agree(ran: list[tuple[str, Work]]) -> None:
    assert invoke("--aiperf", "a", "--rounds", "1", "--tolerance", "0.02")[0] == 1
    assert invoke("--aiperf", "a", "--rounds", "1", "--tolerance", "0.02", "--rate", "0")[0] == 0


def test_ours_runs_twice_a_round_with_prompts_of_its_own(ran: list[tuple[str, Work]]) -> None:
    _, output = invoke("--aiperf", "a", "--rounds", "1", "--rate", "0")
    assert "| ours | ours again | from ours | aiperf | from ours |" in output
    assert [program == sys.executable for program, _ in ran] == [True, True, False]
    assert len({work.prompts_seed for _, work in ran}) == 3


@pytest.mark.parametrize("arguments", [(), ("--aiperf", "a", "--streams", "0", "--rate", "0")])
def test_there_must_be_something_to_compare(arguments: tuple[str, ...], ran: list[tuple[str, Work]]) -> None:
    status, _ = invoke(*arguments)
    assert status == 2
    assert not ran


def test_a_client_that_fails_ends_it_and_what_was_compared_is_kept(
    ran: list[tuple[str, Work]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(work: Work, program: str, folder: Path) -> Figures:
        if isinstance(work.load, Rate):
            raise LoadTestError("aiperf ended with status 3")
        return SAID

    monkeypatch.setattr(aiperf, "run", fail)
    status, output = invoke("--aiperf", "a", "--rounds", "1", "--output", str(tmp_path))
    assert status == 2
    assert "status 3" in output
    content = json.loads((tmp_path / "agreement.json").read_text())
    assert [one["verdict"] for one in content["loads"]] == ["agree"]
