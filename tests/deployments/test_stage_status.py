from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from prometheus_client import CollectorRegistry
from rich.console import Console

from cluster.pipeline.state import Shares, StageState
from deployments.cli.control import status_table
from deployments.front_door.metrics_merge import merge
from deployments.replica_metrics import LABELS, Measures, ReplicaMetrics, load_gauges
from deployments.stage_status import stage_families, stage_status
from tests.cluster.pipeline.test_state import STAGE

STAGES = (
    STAGE,
    replace(STAGE, index=1, layers="19-29", pid=12, node="n2", restarts=2, shares=Shares(0.2, 2 / 3, 0.0, 0.6)),
)
IDLE = tuple(replace(stage, shares=Shares()) for stage in STAGES)


def page(replica: str, stages: Sequence[StageState] = STAGES) -> str:
    metrics = ReplicaMetrics("m", "bf16")
    more = stage_families(stages, replica, LABELS, metrics.labels)
    return metrics.exposition(Measures(gauges=load_gauges(1, 2)), more)


def test_status_has_a_part_for_each_stage() -> None:
    status = stage_status(STAGES)
    first, second = json.loads(json.dumps(status))["stages"]
    assert (first["index"], first["layers"], first["node"], first["pid"]) == (0, "0-18", "n1", 11)
    assert (second["busy"], second["waiting"], second["state"], second["restarts"]) == (0.2, 0.6667, "ready", 2)
    assert (first["memory_bytes"], first["weight_bytes"], first["cache_bytes"]) == (500, 300, 100)
    assert status["bubble"] == 0.5
    assert stage_status(IDLE)["bubble"] is None


def test_a_replica_of_one_process_says_nothing_of_stages() -> None:
    assert stage_status(()) == {}
    assert stage_families((), "r", LABELS, ("m", "bf16")) == []


def test_stages_are_series_of_their_own() -> None:
    labels = 'engine="bf16",model_name="m",replica="r1"'
    lines = page("r1").splitlines()
    for expected in (
        f'stageline:stage_busy_ratio{{{labels},stage="0"}} 0.6',
        f'stageline:stage_waiting_ratio{{{labels},stage="0"}} 0.3',
        f'stageline:stage_memory_bytes{{{labels},stage="1"}} 500.0',
        f'stageline:stage_restarts_total{{{labels},stage="1"}} 2.0',
        f"stageline:pipeline_bubble_ratio{{{labels}}} 0.5",
    ):
        assert expected in lines
    assert "bubble" not in page("r1", IDLE)


def test_replicas_are_not_added_up() -> None:
    merged = merge(CollectorRegistry(), [page("r1"), page("r2")]).decode().splitlines()
    busy = [line for line in merged if line.startswith("stageline:stage_busy_ratio{")]
    assert sorted(line.rpartition(" ")[2] for line in busy) == ["0.2", "0.2", "0.6", "0.6"]
    assert 'vllm:num_requests_waiting{engine="bf16",model_name="m"} 4.0' in merged


def test_status_shows_a_line_for_each_stage_below_its_replica() -> None:
    replica = {"pid": 10, "state": "ready", "running": 3, "waiting": 2, "kv_cache_usage": 0.25, "tokens_per_s": 12.34}
    variants = [{"name": "bf16", "state": "ready", "replicas": [replica | stage_status(STAGES)]}]
    console = Console(width=100)
    with console.capture() as captured:
        console.print(status_table([{"name": "smollm2", "task": "text-generation", "variants": variants}]))
    rows = [line.split() for line in captured.get().splitlines()]
    assert ["smollm2", "bf16", "ready", "10", "3", "2", "25%", "12.3"] in rows
    assert ["0:", "layers", "0-18", "ready", "11@n1", "60%", "busy", "30%", "waits", "500", "B"] in rows
    assert [
        "1:",
        "layers",
        "19-29",
        "ready",
        "12@n2",
        "20%",
        "busy",
        "67%",
        "waits",
        "500",
        "B",
        "replaced",
        "2x",
    ] in rows
    assert ["bubble", "50%"] in rows
    assert "…" not in captured.get()
