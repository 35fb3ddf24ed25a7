"""A running server looked into while it answers: its profile, its stacks, its live view."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tests.deployments.server.running import CHOICE, LIMIT_S, ROOMY, Server

pytestmark = [pytest.mark.ray, pytest.mark.model]

run = CliRunner().invoke


def test_a_profile_while_it_answers(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "trace.json"
    for _ in range(3):  # what a replica's first steps record is played again from then on
        assert server.complete(max_tokens=8).status_code == 200
    arguments = ["profile", "--seconds", "1", "--model", ROOMY, "--out", str(out), "--url", server.state.admin_url]
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(run, app, arguments)
        while not taken.done():
            assert server.complete(max_tokens=8).status_code == 200, "it goes on serving"
        result = taken.result()
    assert result.exit_code == 0, result.output
    events = json.loads(out.read_text())["traceEvents"]
    names = {event["name"] for event in events if event["ph"] == "X"}
    assert {"engine step", "hand out", "choose tokens", "stageline::attention"} <= names
    (row,) = (event["args"]["name"] for event in events if event["name"] == "process_name")
    assert row.startswith(f"{ROOMY}:bf16, replica {server.replica(ROOMY)['replica']}")


def test_a_replica_that_is_not_there(server: Server) -> None:
    body = {"model": ROOMY, "replica": "none"}
    answer = httpx.post(f"{server.state.admin_url}/admin/profile", json=body, timeout=LIMIT_S)
    assert answer.status_code == 404
    assert server.replica(ROOMY)["replica"] in answer.json()["error"]["message"]


def test_stacks_of_all_processes(server: Server) -> None:
    answer = httpx.get(f"{server.state.admin_url}/admin/stacks", timeout=LIMIT_S)
    stacks = answer.raise_for_status().json()["processes"]
    assert "Thread watchdog" in stacks["front door"]
    replica = server.replica(ROOMY)["replica"]
    assert "Thread engine-loop" in stacks[f"{ROOMY}:bf16 replica {replica}"]
    assert len(stacks) == 10, "a front door, seven replicas, and two stages of one of them"


def test_a_view_of_it(server: Server) -> None:
    result = run(app, ["top", "--once", "--every", "0.2", "--url", server.state.admin_url])
    assert result.exit_code == 0, result.output
    for name in (ROOMY, CHOICE, "intents", "en-de"):
        assert name in result.output
