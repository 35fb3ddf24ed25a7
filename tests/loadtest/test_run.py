"""`python -m loadtest` as people use it, against the server with known timing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from rich.console import Console

from loadtest import run as run_module
from loadtest.errors import LoadTestError
from loadtest.run import Trial, results_folder
from loadtest.scenario import load_scenario
from tests.loadtest.conftest import ROOT, Timed

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
START_S = 30.0


def scenario(folder: Path, **more: object) -> Path:
    given = {
        "name": "timed",
        "requests": [{"kind": "completions", "model": "ttft=0.05,gap=0.005,n=8", "output_tokens": 8}],
        "load": {"arrivals": "poisson", "rate": 20},
        "warm_up_s": 0.5,
        "duration_s": 1.5,
        **more,
    }
    path = folder / "timed.yaml"
    path.write_text(yaml.safe_dump(given))
    return path


def loadtest(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`folder`: from where it is called."""
    command = [sys.executable, "-m", "loadtest", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT, cwd=folder)


def test_a_run_leaves_its_files_and_keeps_its_objective(timed_server: Timed, tmp_path: Path) -> None:
    path, out = scenario(tmp_path, objective={"failed": 0, "ttft_ms": {"p50": 10_000}}), tmp_path / "out"
    ended = loadtest("run", str(path), "--url", timed_server.url, "--output", str(out))
    assert ended.returncode == 0, ended.stderr
    names = {one.name for one in out.iterdir()}
    assert {"report.html", "report.md", "requests.jsonl", "result.json", "run.json", "scenario.yaml"} <= names
    result = json.loads((out / "result.json").read_text())
    assert result["failed"] == 0
    assert result["stageline"]["client"]["lag_p50_ms"] >= 0
    assert "TTFT" in ended.stderr
    # Another run into the same folder replaces this one.
    assert loadtest("run", str(path), "--url", timed_server.url, "--output", str(out), "--no-pictures").returncode == 0
    again = json.loads((out / "result.json").read_text())
    assert again["num_prompts"] == result["num_prompts"]


def test_a_trace_and_texts_beside_a_scenario_that_is_named_from_its_folder(timed_server: Timed, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"at_s": 0.1}\n{"at_s": 0.2}\n')
    (tmp_path / "mine.txt").write_text("a text of mine\n")
    requests = [{"kind": "classify", "model": "delay=0.01", "texts": "mine.txt"}]
    path = scenario(tmp_path, requests=requests, load={"arrivals": "trace", "trace": "mine.jsonl"}, warm_up_s=0)
    arguments = ["--url", timed_server.url, "--output", "out", "--no-pictures"]
    ended = loadtest("run", path.name, *arguments, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "out" / "result.json").read_text())["completed"] == 2


def test_an_objective_that_is_not_kept_is_status_1(timed_server: Timed, tmp_path: Path) -> None:
    path = scenario(tmp_path, objective={"ttft_ms": {"p50": 1}})
    arguments = ["--url", timed_server.url, "--output", str(tmp_path / "out"), "--no-pictures"]
    assert loadtest("run", str(path), *arguments).returncode == 1


def test_other_models_seeds_and_times_than_the_scenarios(timed_server: Timed, tmp_path: Path) -> None:
    arguments = ["--model", "ttft=0.02,gap=0,n=3", "--seed", "9", "--seconds", "1", "--no-pictures"]
    out = tmp_path / "out"
    assert (
        loadtest("run", str(scenario(tmp_path)), "--url", timed_server.url, "--output", str(out), *arguments).returncode
        == 0
    )
    facts = json.loads((out / "run.json").read_text())["scenario"]
    assert (facts["requests"][0]["model"], facts["seed"], facts["duration_s"]) == ("ttft=0.02,gap=0,n=3", 9, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "absent"], "there is no such scenario"),
        (["run", "generation", "--url", "ftp://somewhere"], "not an address"),
        (["run", "generation", "--url", "http://127.0.0.1:1"], "Is the server running?"),
        (["report", "absent"], "Give the folder of a run"),
        (["search", "generation"], "one `rate`"),
        (["run", "step", "--seconds", "600"], "the phases last 150 s"),
    ],
)
def test_what_cannot_be_is_said_with_status_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    folder = ["--output", str(tmp_path / "out")] if arguments[0] != "report" else []
    ended = loadtest(*arguments, *folder)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_search_finds_the_limit_and_draws_it(timed_server: Timed, tmp_path: Path) -> None:
    """One at a time, 0.1 s each: 10 a second is the most, and half of that leaves room for chance."""
    path = scenario(
        tmp_path,
        requests=[{"kind": "completions", "model": "serial=1,ttft=0.1,gap=0,n=1"}],
        load={"arrivals": "constant", "rate": 1},
        objective={"ttft_ms": {"p90": 170}},
    )
    out = tmp_path / "out"
    ended = loadtest(
        *("search", str(path), "--url", timed_server.url, "--output", str(out), "--rate", "6", "--precision", "0.9")
    )
    if "the limit was the client's" in ended.stderr:
        pytest.skip("this machine has no time for a client: there is nothing to find on it")
    assert ended.returncode == 0, ended.stderr
    assert (out / "curve.png").stat().st_size > 5000
    assert "The objective is kept up to" in ended.stderr
    assert len([one for one in out.iterdir() if one.is_dir()]) >= 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--processes", "2"], "cannot share 10 requests evenly"),
        (["--api-key", "schlüssel"], "The API key has"),
        (["--output", "/dev/null/out"], "the results cannot be written there"),
    ],
)
def test_what_cannot_be_run_is_said_before_it_begins(
    timed_server: Timed, tmp_path: Path, more: list[str], words: str
) -> None:
    path = scenario(tmp_path, load={"users": 1, "requests": 10})
    ended = loadtest("run", str(path), "--url", timed_server.url, "--output", str(tmp_path / "out"), *more)
    assert ended.returncode == 2
    assert words in ended.stderr.replace("\n", " ")
    assert "Traceback" not in ended.stderr


def test_nothing_of_an_earlier_run_is_left_and_no_answer_is_status_2(timed_server: Timed, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "marks.jsonl").write_text('{"at_s": 1, "what": "of another run"}\n')
    requests = [{"kind": "completions", "model": "status=503"}]
    path = scenario(tmp_path, requests=requests)
    ended = loadtest("run", str(path), "--url", timed_server.url, "--output", str(out), "--no-pictures")
    assert ended.returncode == 2
    assert not (out / "marks.jsonl").exists()
    assert "No request was answered" in (out / "report.md").read_text()


def test_a_run_that_is_not_whole_is_none_for_a_benchmark(
    timed_server: Timed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"start_s": 0.0, "client": {"complete": False, "verdict": "3 of 9 planned requests were not sent."}}

    def wait(process: object, trial: Trial, *others: object) -> None:
        (trial.folder / "run.json").write_text(json.dumps(told))

    monkeypatch.setattr(run_module, "_client", lambda trial: nullcontext())
    monkeypatch.setattr(run_module, "_wait", wait)
    trial = Trial(load_scenario(scenario(tmp_path)), timed_server.url, tmp_path / "out")
    with pytest.raises(LoadTestError, match="3 of 9 planned"):
        run_module.run(trial, Console(quiet=True))
    assert run_module.run(trial, Console(quiet=True), whole=False) == told


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="priorities of this kind are Linux's")
@pytest.mark.parametrize("ahead", [True, False])
def test_a_client_that_shares_its_cores_goes_ahead_where_that_is_permitted(
    ahead: bool, timed_server: Timed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies, wait = [], run_module._wait

    def watched(process: subprocess.Popen[bytes], *others: Any) -> None:
        policies.append(os.sched_getscheduler(process.pid))
        wait(process, *others)

    monkeypatch.setattr(run_module, "_wait", watched)
    trial = Trial(load_scenario(scenario(tmp_path)), timed_server.url, tmp_path / "out", ahead=ahead)
    run_module.run(trial, Console(quiet=True))
    assert policies == [os.SCHED_RR if ahead and _may_go_ahead() else os.SCHED_OTHER]


def _may_go_ahead() -> bool:
    script = "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=START_S).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_client_too_and_leave_a_report(
    number: int, timed_server: Timed, tmp_path: Path
) -> None:
    path, out = scenario(tmp_path, duration_s=60), tmp_path / "out"
    command = [sys.executable, "-m", "loadtest", "run", str(path), "--url", timed_server.url, "--output", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        deadline = time.monotonic() + START_S
        while not (out / "requests.jsonl").exists() or not (out / "requests.jsonl").stat().st_size:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(number)
        assert process.wait(START_S) == 2
    _, alive = psutil.wait_procs(children, timeout=START_S)
    assert alive == []
    report = (out / "report.md").read_text()
    assert "The run is not complete" in report
    assert "broken off after" in report
    assert not (out / "given.yaml").exists()


def test_results_have_folders_of_their_own() -> None:
    folder = results_folder("timed")
    assert folder.parent == ROOT / "loadtest" / "results"
    assert folder.name.endswith("-timed")
    assert not folder.exists()
