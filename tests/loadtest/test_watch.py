"""What is kept of what a server tells: of the pages that Stageline's front door shows, and of those of others."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.pipeline.state import Shares, StageState, State
from deployments.replica_metrics import LABELS, Measures, ReplicaMetrics, load_gauges
from deployments.stage_status import stage_families, stage_status
from loadtest import watch as module
from loadtest.watch import metrics_of, models_of, watch
from tests.deployments.sources.file_server import FileServer, serving

STATES: tuple[State, ...] = ("ready", "starting")
STAGES = tuple(
    StageState(index, f"{index}", "n1", 10 + index, state, 500, 600, 300, 100, 1.0, 7, 0, Shares(0.5, 0.5))
    for index, state in enumerate(STATES)
)
STATUS = {
    "models": [
        {
            "name": "smollm2",
            "task": "text-generation",
            "variants": [
                {
                    "name": "bf16",
                    "state": "ready",
                    "replicas": [{"state": "ready"} | stage_status(STAGES), {"state": "failed"}],
                },
                {"name": "fp32", "state": "asleep", "replicas": []},
            ],
        }
    ]
}
TOLD = [
    {
        "name": "smollm2",
        "variants": [
            {"name": "bf16", "state": "ready", "replicas": 1, "starting": 1, "stages": [[1, 0]]},
            {"name": "fp32", "state": "asleep", "replicas": 0, "starting": 0, "stages": []},
        ],
    }
]
OF_VLLM = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a \\"b\\", c"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} NaN
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 3.0
vllm:generation_tokens_total{engine="0",model_name="m"} 1.5e3
vllm:generation_tokens_created{engine="0",model_name="m"} 1.7e9
stageline:variant_steps_total{from="bf16",model_name="m",reason="load",to="int8"} 1.0
stageline:variant_steps_total{from="int8",model_name="m",reason="load",to="bf16"} 2.0
stageline:variant_state{engine="int8",model_name="m",state="ready"} 1.0
stageline:objective_seconds{model_name="m",part="ttft"} 0.5
python_info{version="3.11"} 1.0
nothing of this kind
"""


def exposition() -> str:
    metrics = ReplicaMetrics("smollm2", "bf16")
    metrics.observe_step(8, 0.5)
    return metrics.exposition(Measures(gauges=load_gauges(3, 2)), stage_families(STAGES, "r1", LABELS, metrics.labels))


def test_status() -> None:
    assert models_of(STATUS) == TOLD


def test_metrics() -> None:
    """Not the histogram of steps, and no shares of stages, which cannot be added up."""
    assert metrics_of(exposition()) == {
        "vllm:num_requests_running": {"smollm2/bf16": 3.0},
        "vllm:num_requests_waiting": {"smollm2/bf16": 2.0},
        "stageline:engine_busy_seconds": {"smollm2/bf16": 0.5},
    }
    assert metrics_of(OF_VLLM) == {
        "vllm:num_requests_running": {'a \\"b\\", c/0': 2.0},
        "vllm:generation_tokens_total": {"m/0": 1500.0},
        "stageline:variant_steps_total": {"m": 3.0},
    }


def watched(server: FileServer, path: Path, until_asked: int, api_key: str = "") -> list[dict[str, Any]]:
    """Samples of a server, until it was asked so often."""
    ended = threading.Event()
    arguments = (server.address, time.time() - 5, path, ended, api_key)
    thread = threading.Thread(target=watch, args=arguments, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while len(server.asked) < until_asked and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    ended.set()
    thread.join(20)
    assert not thread.is_alive()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_samples_are_written_line_by_line(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.01)
    pages = {"/status": json.dumps(STATUS).encode(), "/metrics": exposition().encode()}
    with serving(FileServer(pages=pages)) as server:
        samples = watched(server, tmp_path / "server.jsonl", 9)
    assert len(samples) >= 4
    assert [sample["at_s"] for sample in samples] == sorted(sample["at_s"] for sample in samples)
    assert 5 <= samples[0]["at_s"] < 30
    assert all(sample["models"] == TOLD for sample in samples)
    assert samples[0]["metrics"]["vllm:num_requests_running"] == {"smollm2/bf16": 3.0}


def test_a_server_with_metrics_only_is_not_asked_for_more(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.01)
    with serving(FileServer(pages={"/metrics": OF_VLLM.encode()})) as server:
        samples = watched(server, tmp_path / "server.jsonl", 6)
        assert len(server.asked_for("/status")) == 1
    assert all(sample["models"] == [] and "vllm:num_requests_running" in sample["metrics"] for sample in samples)
    assert samples


@pytest.mark.parametrize(("key", "header"), [("secret", "Bearer secret"), ("", None)])
def test_the_key_is_shown(key: str, header: str | None, tmp_path: Path) -> None:
    with serving(FileServer()) as server:
        watched(server, tmp_path / "server.jsonl", 2, key)
        assert [one.authorization for one in server.asked] == [header, header]


def test_a_server_with_neither_is_left_alone(tmp_path: Path) -> None:
    with serving(FileServer()) as server:
        assert watched(server, tmp_path / "server.jsonl", 100) == []
        assert len(server.asked) == 2


def test_pages_of_others_and_servers_that_are_gone_are_no_error(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.01)
    with serving(FileServer(pages={"/status": b"all is well", "/metrics": b"\xff\xfe"})) as server:
        assert watched(server, tmp_path / "one.jsonl", 6) == []
    others: list[Any] = [
        [],
        {"models": [3]},
        {"models": None},
        {"models": [{"name": "m", "variants": [{"name": "v"}]}]},
    ]
    for status in others:
        with serving(FileServer(pages={"/status": json.dumps(status).encode()})) as server:
            assert watched(server, tmp_path / "two.jsonl", 4) == []
    server.asked.clear()
    ended = threading.Event()
    threading.Timer(0.1, ended.set).start()
    watch(server.address, time.time(), tmp_path / "three.jsonl", ended)
    assert (tmp_path / "three.jsonl").read_text() == ""
