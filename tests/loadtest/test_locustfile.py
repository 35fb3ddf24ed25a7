"""Whole runs of Locust, in processes of their own, against the server with known timing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from loadtest.arrivals import schedule
from loadtest.record import Record, read_records
from loadtest.scenario import Open, parse_scenario
from tests.loadtest.conftest import ROOT, Timed


def locust(url: str, folder: Path, *arguments: str) -> tuple[list[Record], dict[str, Any]]:
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), "--headless"]
    command += ["--host", url, "--results", str(folder), "--no-report", "--only-summary", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return read_records(folder / "requests.jsonl"), json.loads((folder / "run.json").read_text())


def scenario(folder: Path, load: dict[str, Any], model: str = "ttft=0.1,gap=0.01,n=8", **more: Any) -> Path:
    given = {
        "name": "timed",
        "requests": [{"kind": "completions", "model": model, "output_tokens": 8}],
        "load": load,
        "warm_up_s": 0.5,
        "duration_s": 2.0,
        **more,
    }
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(given))
    return path


def test_a_closed_loop_has_as_many_under_way_as_users(timed_server: Timed, tmp_path: Path) -> None:
    path = scenario(tmp_path, {"users": 4})
    records, facts = locust(timed_server.url, tmp_path / "out", "--scenario", str(path))
    assert {one.failure for one in records} == {""}
    assert sorted(one.number for one in records) == list(range(len(records)))
    # 4 users, 0.17 s a request, 2.5 s
    assert 4 * 2.0 / 0.17 < len(records) < 4 * 3.0 / 0.17
    for one in records:
        assert one.end_s is not None
        under_way = sum(other.scheduled_s <= one.scheduled_s < (other.end_s or 0) for other in records)
        assert under_way <= 4
    assert facts["scenario"]["name"] == "timed"
    assert facts["server"]["models"]
    assert facts["tokens"]["answers"] == 32
    assert facts["client"]["lag_p50_ms"] < 1000


def test_an_open_loop_keeps_its_schedule_though_the_server_answers_one_at_a_time(
    timed_server: Timed, tmp_path: Path
) -> None:
    """What a closed loop hides: 20 requests a second come, 10 are answered, so that each waits longer than the last."""
    path = scenario(tmp_path, {"arrivals": "constant", "rate": 20}, model="serial=1,ttft=0.1,gap=0,n=1")
    records, _ = locust(timed_server.url, tmp_path / "out", "--scenario", str(path))
    assert [one.scheduled_s for one in records] == pytest.approx([0.05 * n for n in range(1, 50)])
    waits = np.array([(one.first_s or 0) - one.scheduled_s for one in records])
    assert waits[-1] > 10 * waits[0]
    assert (np.diff(waits) > 0).mean() > 0.9
    assert all(
        (one.sent_s or 0) - one.scheduled_s < 0.5 * wait for one, wait in zip(records[5:], waits[5:], strict=True)
    )


def test_two_workers_send_one_schedule(timed_server: Timed, tmp_path: Path) -> None:
    path = scenario(tmp_path, {"arrivals": "poisson", "rate": 30}, seed=7)
    records, facts = locust(timed_server.url, tmp_path / "out", "--scenario", str(path), "--processes", "2")
    load = parse_scenario(yaml.safe_load(path.read_text()), path).load
    assert isinstance(load, Open)
    planned = schedule(load, 2.5, 7)
    assert [(one.number, one.scheduled_s) for one in records] == [(one.number, one.at_s) for one in planned]
    assert [one.worker for one in records] == [one.number % 2 for one in planned]
    assert {one.failure for one in records} == {""}
    assert facts["workers"] == 2


def test_a_closed_loop_of_so_many_requests_ends_with_them(timed_server: Timed, tmp_path: Path) -> None:
    path = scenario(tmp_path, {"users": 3, "requests": 10}, duration_s=50.0)
    records, _ = locust(timed_server.url, tmp_path / "out", "--scenario", str(path))
    assert [one.number for one in sorted(records, key=lambda one: one.number)] == list(range(10))


def test_users_by_hand_ask_for_their_own_kind(timed_server: Timed, tmp_path: Path) -> None:
    arguments = ["-u", "2", "-r", "2", "-t", "5s", "--classifier", "delay=0.05", "ClassifyUser"]
    records, facts = locust(timed_server.url, tmp_path / "out", *arguments)
    assert {(one.kind, one.model, one.failure) for one in records} == {("classify", "delay=0.05", "")}
    assert facts["scenario"]["name"] == "by-hand"
    assert 1 < facts["scenario"]["duration_s"] < 60


def test_a_scenario_that_is_none_ends_with_words(timed_server: Timed, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), "--headless"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*command, "--host", timed_server.url, "--scenario", str(tmp_path / "absent.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert ended.returncode != 0
    assert "there is no such scenario" in ended.stdout + ended.stderr
