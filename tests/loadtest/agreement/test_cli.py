"""The command, with a stand-in for each program: what counts here is who is run, and what is made of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import typer
from typer.testing import CliRunner

from loadtest.agreement import aiperf, cli, ours, rounds, servebench
from loadtest.agreement.compare import Seen
from loadtest.agreement.figures import Figures
from loadtest.agreement.work import Rate, Work
from loadtest.errors import LoadTestError
from tests.loadtest.conftest import ROOT, Timed

SAID = Figures(100.0, 200.0, 10.0, 10.0, 50.0, 2.0, completed=120, failed=0, version="1")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, Work]]:
    """Who did what. aiperf says 3% more than the others where the loop is open."""
    done: list[tuple[str, Work]] = []

    def stand_in(name: str, more: float) -> Callable[[Work, str, Path], Figures]:
        def run(work: Work, program: str, folder: Path) -> Figures:
            done.append((program, work))
            return replace(SAID, ttft_p50_ms=100.0 * (1 + more * isinstance(work.load, Rate)))

        return run

    for module, more in ((ours, 0.0), (aiperf, 0.03), (servebench, 0.0)):
        monkeypatch.setattr(module, "run", stand_in(module.__name__, more))
    seen = lambda client, work: Seen(client.run(work, client.program, tmp_path), SAID)  # noqa: E731
    monkeypatch.setattr(rounds, "run_one", seen)
    monkeypatch.setattr("loadtest.run.check_server", lambda url: None)
    monkeypatch.setattr("loadtest.run_files.server_facts", lambda url, key: {"version": "7", "models": ["m"]})
    return done


def invoke(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(cli.agree)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_clients_take_turns_and_the_results_are_kept(ran: list[tuple[str, Work]], tmp_path: Path) -> None:
    folders = ("--aiperf", "a/bin", "--servebench", "s/bin", "--output", str(tmp_path))
    status, output = invoke(*folders, "--rounds", "3", "--rate", "2", "--api-key", "secret")
    assert status == 0
    names = ["ours" if program == sys.executable else Path(program).name for program, _ in ran[:9]]
    assert names == ["aiperf", "servebench", "ours", "servebench", "ours", "aiperf", "ours", "aiperf", "servebench"]
    assert all(Path(program).is_absolute() for program, _ in ran)
    assert "| TTFT p50, ms | 100.0 | +0.0% | 103.0 | +3.0% | +3.0% | 100.0 | +0.0% | +0.0% |" in output
    head, _, tables = (tmp_path / "agreement.md").read_text().partition("\n\n")
    assert set(tables.splitlines()) <= set(output.splitlines())
    assert "server: http://127.0.0.1:8000, version 7, m" in head
    assert "clients: ours 1, aiperf 1, servebench 1" in head
    content = json.loads((tmp_path / "agreement.json").read_text())
    assert [one["title"] for one in content["loads"]] == [
        "Closed loop, 4 streams",
        "Open loop, 2 requests/s, Poisson",
    ]
    assert len(content["loads"][0]["rounds"]) == 3
    assert content["machine"].keys() >= {"commit", "date", "processor"}
    assert (content["server"]["version"], content["arguments"]["requests"]) == ("7", 120)
    assert {work.api_key for _, work in ran} == {"secret"}
    assert "secret" not in (tmp_path / "agreement.json").read_text()


def test_the_status_says_whether_they_agree(ran: list[tuple[str, Work]]) -> None:
    assert invoke("--aiperf", "a", "--rounds", "1", "--tolerance", "0.02")[0] == 1
    assert invoke("--aiperf", "a", "--rounds", "1", "--tolerance", "0.02", "--rate", "0")[0] == 0


def test_no_prompt_is_sent_twice(ran: list[tuple[str, Work]]) -> None:
    """Neither by two clients, nor in two loads, nor with the next seed."""
    invoke("--aiperf", "a", "--rounds", "2")
    invoke("--aiperf", "a", "--rounds", "2", "--seed", "1")
    assert len(ran) == 16
    assert len({work.prompts_seed for _, work in ran}) == 16


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


def test_a_sigterm_leaves_nothing_running(timed_server: Timed, tmp_path: Path) -> None:
    """Of a client with a process in a session of its own, and of the wire."""
    program = tmp_path / "aiperf"
    start = "subprocess.Popen(['sleep', '60'], start_new_session=True)"
    code = (
        f"import pathlib, subprocess, time\n{start}\npathlib.Path({str(tmp_path / 'up')!r}).touch()\ntime.sleep(60)\n"
    )
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o755)
    command = [sys.executable, "-m", "loadtest", "agree", "--url", timed_server.url, "--model", "ttft=0,gap=0"]
    command += ["--aiperf", str(tmp_path), "--requests", "8", "--rounds", "1"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "up").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) == 3
        process.terminate()
        assert process.wait(30) != 0
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
