"""Whole runs of Locust, in processes of their own, against the server with known timing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from loadtest.arrivals import schedule
from loadtest.record import Record, read_records
from loadtest.scenario import Open, parse_scenario
from tests.loadtest.conftest import Timed
from tests.loadtest.locusts import LIMIT_S, headless, locust, scenario, told


def run(url: str, folder: Path, *arguments: str) -> tuple[list[Record], dict[str, Any]]:
    log = folder.with_suffix(".log")
    with locust(*headless(url, folder, *arguments), log=log) as process:
        assert process.wait(LIMIT_S) == 0, log.read_text()
    return read_records(folder / "requests.jsonl"), told(folder)


def test_a_closed_loop_has_as_many_under_way_as_users(timed_server: Timed, tmp_path: Path) -> None:
    path = scenario(tmp_path, {"users": 4})
    records, facts = run(timed_server.url, tmp_path / "out", "--scenario", str(path))
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
    records, _ = run(timed_server.url, tmp_path / "out", "--scenario", str(path))
    assert [one.scheduled_s for one in records] == pytest.approx([0.05 * n for n in range(1, 50)])
    waits = np.array([(one.first_s or 0) - one.scheduled_s for one in records])
    assert waits[-1] > 10 * waits[0]
    assert (np.diff(waits) > 0).mean() > 0.9
    assert all(
        (one.sent_s or 0) - one.scheduled_s < 0.5 * wait for one, wait in zip(records[5:], waits[5:], strict=True)
    )


def test_two_workers_send_one_schedule(timed_server: Timed, tmp_path: Path) -> None:
    path = scenario(tmp_path, {"arrivals": "poisson", "rate": 30}, seed=7)
    records, facts = run(timed_server.url, tmp_path / "out", "--scenario", str(path), "--processes", "2")
    load = parse_scenario(yaml.safe_load(path.read_text()), path).load
    assert isinstance(load, Open)
    planned = schedule(load, 2.5, 7)
    assert [(one.number, one.scheduled_s) for one in records] == [(one.number, one.at_s) for one in planned]
    assert [one.worker for one in records] == [one.number % 2 for one in planned]
    assert {one.failure for one in records} == {""}
    assert facts["workers"] == 2


def test_a_closed_loop_of_so_many_requests_ends_with_them(timed_server: Timed, tmp_path: Path) -> None:
    path = scenario(tmp_path, {"users": 3, "requests": 10}, duration_s=50.0)
    records, _ = run(timed_server.url, tmp_path / "out", "--scenario", str(path))
    assert [one.number for one in sorted(records, key=lambda one: one.number)] == list(range(10))


def test_users_by_hand_ask_for_their_own_kind(timed_server: Timed, tmp_path: Path) -> None:
    arguments = ["-u", "2", "-r", "2", "-t", "5s", "--classifier", "delay=0.05", "ClassifyUser"]
    records, facts = run(timed_server.url, tmp_path / "out", *arguments)
    assert {(one.kind, one.model, one.failure) for one in records} == {("classify", "delay=0.05", "")}
    assert facts["scenario"]["name"] == "by-hand"
    assert 1 < facts["scenario"]["duration_s"] < 60


def test_a_scenario_that_is_none_ends_with_words(timed_server: Timed, tmp_path: Path) -> None:
    arguments = headless(timed_server.url, tmp_path / "out", "--scenario", str(tmp_path / "absent.yaml"))
    with locust(*arguments, log=tmp_path / "log") as process:
        assert process.wait(LIMIT_S) == 1
    assert "there is no such scenario" in (tmp_path / "log").read_text()
