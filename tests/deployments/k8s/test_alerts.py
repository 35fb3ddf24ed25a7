"""Every alert fires when it should and only then, by Prometheus' own `promtool test rules` where that is installed
(Debian and Ubuntu: `apt-get install prometheus`)."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployments.k8s.promql import COMPONENT, alerts

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")

OURS = 'job="stageline",namespace="stageline"'
RAY = 'job="stageline-ray",namespace="stageline",pod="worker-1"'
BF16 = f'{OURS},model_name="m",engine="bf16"'
INT8 = f'{OURS},model_name="m",engine="int8"'
FRONT_DOOR = f'{RAY},application="stageline",deployment="front-door"'
HTTP = f"ray_serve_num_http_requests_total{{{FRONT_DOOR}"

HEALTHY = {
    f"up{{{OURS}}}": "1x400",
    f"up{{{RAY}}}": "1x400",
    f"stageline:ready{{{OURS}}}": "1x400",
    f'stageline:variant_state{{{BF16},state="ready"}}': "1x400",
    f'stageline:variant_state{{{INT8},state="ready"}}': "0x400",
    f"stageline:variant_quality{{{BF16}}}": "1x400",
    f"stageline:variant_quality{{{INT8}}}": "0.98x400",
    f"stageline:variant_preferred{{{BF16}}}": "1x400",
    f"stageline:variant_preferred{{{INT8}}}": "0x400",
    f'{HTTP},status_code="200"}}': "0+600x400",
    f'{HTTP},status_code="503"}}': "0+6x400",
    f'vllm:request_success_total{{{BF16},finished_reason="stop"}}': "0+600x400",
    f'vllm:request_success_total{{{BF16},finished_reason="error"}}': "0+2x400",
    f'vllm:request_success_total{{{BF16},finished_reason="abort"}}': "0+100x400",
    f'vllm:admission_rejections_total{{{BF16},reason="overloaded"}}': "0+6x400",
    f'vllm:admission_rejections_total{{{BF16},reason="deadline"}}': "0+600x400",
    f"vllm:num_requests_waiting{{{BF16}}}": "3 9 1 40 0x400",
    f"vllm:kv_cache_usage_perc{{{BF16}}}": "0.9 0.99 0.99 0.7x400",
    f"stageline:objective_answers_total{{{BF16}}}": "0+600x400",
    f'stageline:objective_missed_total{{{BF16},part="ttft"}}': "0+6x400",
    f'stageline:stream_resumptions_total{{{BF16},cause="died"}}': "0x100 2x300",
    f'stageline:stage_busy_ratio{{{BF16},replica="a",stage="0"}}': "0.8x400",
    f'stageline:stage_busy_ratio{{{BF16},replica="a",stage="1"}}': "0.7x400",
    f'stageline:stage_restarts_total{{{BF16},replica="a",stage="1"}}': "0x100 1x300",
    f'ray_serve_deployment_replica_healthy{{{FRONT_DOOR},replica="a"}}': "1x400",
    f"ray_serve_autoscaling_target_replicas{{{FRONT_DOOR}}}": "1x400",
    f'stageline:stalls_total{{{BF16},replica="a",what="step"}}': "0x400",
    f"stageline:drift_answers_total{{{INT8}}}": "0+1x400",
    f"stageline:drift_compared_total{{{INT8}}}": "0+100x400",
    f"stageline:drift_agreed_total{{{INT8}}}": "0+95x400",
    f"ray_node_mem_used{{{RAY}}}": "80x400",
    f"ray_node_mem_total{{{RAY}}}": "100x400",
    f"ray_node_disk_utilization_percentage{{{RAY}}}": "80x400",
}
"""Series for 400 minutes, in promtool's notation."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is other than healthy, and when which alerts fire."""

    name: str
    changed: dict[str, str]
    at: str
    fires: dict[str, int] = field(default_factory=dict)
    without: tuple[str, ...] = ()  # series that are not there, by their beginning


CASES = (
    Case("healthy", {}, "390m"),
    Case("no target", {}, "30m", {"StagelineFrontDoorMissing": 1}, without=(f"up{{{OURS}",)),
    Case("no answer", {f"up{{{OURS}}}": "1x10 0x30"}, "15m", {"StagelineFrontDoorMissing": 1}),
    Case("no answer, for a minute", {f"up{{{OURS}}}": "1x10 0x30"}, "12m"),
    Case("not ready", {f"stageline:ready{{{OURS}}}": "0x400"}, "12m", {"StagelineNotReady": 1}),
    Case("starting", {f"stageline:ready{{{OURS}}}": "0x400"}, "9m"),
    Case(
        "no replica",
        {f'stageline:variant_state{{{BF16},state="ready"}}': "1x10 0x400"},
        "13m",
        {"StagelineModelDown": 1},
    ),
    Case(
        "one of two variants",
        {
            f'stageline:variant_state{{{BF16},state="ready"}}': "1x10 0x400",
            f'stageline:variant_state{{{INT8},state="ready"}}': "1x400",
        },
        "13m",
    ),
    Case("5xx", {f'{HTTP},status_code="503"}}': "0+60x400"}, "12m", {"StagelineHttpErrors": 1}),
    Case(
        "errors",
        {f'vllm:request_success_total{{{BF16},finished_reason="error"}}': "0+30x400"},
        "12m",
        {"StagelineErrors": 1},
    ),
    Case(
        "refusals",
        {f'vllm:admission_rejections_total{{{BF16},reason="fairness"}}': "0+60x400"},
        "12m",
        {"StagelineRequestsRefused": 1},
    ),
    Case(
        "objective missed badly",
        {f'stageline:objective_missed_total{{{BF16},part="ttft"}}': "0+120x400"},
        "200m",
        {"StagelineObjectiveMissedBadly": 1, "StagelineObjectiveMissed": 1},
    ),
    Case(
        "objective missed",
        {f'stageline:objective_missed_total{{{BF16},part="ttft"}}': "0+60x400"},
        "390m",
        {"StagelineObjectiveMissed": 1},
    ),
    Case(
        "a bad minute",
        {f'stageline:objective_missed_total{{{BF16},part="ttft"}}': "0x380 600x20"},
        "383m",
    ),
    Case(
        "answers that differ",
        {f"stageline:drift_agreed_total{{{INT8}}}": "0+60x400"},
        "60m",
        {"StagelineDrift": 1},
    ),
    Case(
        "few answers that differ",
        {
            f"stageline:drift_agreed_total{{{INT8}}}": "0+60x20 1200x380",
            f"stageline:drift_compared_total{{{INT8}}}": "0+100x20 2000x380",
            f"stageline:drift_answers_total{{{INT8}}}": "0+0x20 15x380",
        },
        "60m",
    ),
    Case(
        "a step that hung",
        {f'stageline:stalls_total{{{BF16},replica="a",what="step"}}': "0x20 1x380"},
        "25m",
        {"StagelineStalls": 1},
    ),
    Case(
        "keys that cannot be read",
        {f"stageline:api_keys_broken{{{OURS}}}": "0x10 1x400"},
        "13m",
        {"StagelineKeysBroken": 1},
    ),
    Case("keys that could not be read for a minute", {f"stageline:api_keys_broken{{{OURS}}}": "0x10 1x1 0x400"}, "15m"),
    Case(
        "a replica that had hung long ago, and ended",
        {
            f'stageline:stalls_total{{{BF16},replica="a",what="step"}}': "3x100 stale",
            f'stageline:stalls_total{{{BF16},replica="b",what="step"}}': "2x400",
        },
        "110m",
    ),
    Case(
        "a step that hung an hour ago",
        {f'stageline:stalls_total{{{BF16},replica="a",what="step"}}': "0x20 1x380"},
        "80m",
    ),
    Case("queue", {f"vllm:num_requests_waiting{{{BF16}}}": "0+5x400"}, "30m", {"StagelineQueueGrowing": 1}),
    Case("queue that shrinks", {f"vllm:num_requests_waiting{{{BF16}}}": "2000-5x390"}, "60m"),
    Case(
        "replicas that come and go",
        {
            f'ray_serve_deployment_replica_healthy{{{FRONT_DOOR},replica="a"}}': "1x20 stale",
            f'ray_serve_deployment_replica_healthy{{{FRONT_DOOR},replica="b"}}': "_x22 1x4 stale",
            f'ray_serve_deployment_replica_healthy{{{FRONT_DOOR},replica="c"}}': "_x28 1x400",
        },
        "30m",
        {"StagelineReplicasRestart": 1},
    ),
    Case(
        "scaled up",
        {
            f'ray_serve_deployment_replica_healthy{{{FRONT_DOOR},replica="b"}}': "_x22 1x400",
            f'ray_serve_deployment_replica_healthy{{{FRONT_DOOR},replica="c"}}': "_x22 1x400",
        },
        "30m",
    ),
    Case(
        "no place",
        {f"ray_serve_autoscaling_target_replicas{{{FRONT_DOOR}}}": "2x400"},
        "15m",
        {"StagelineReplicasMissing": 1},
    ),
    Case(
        "no place for any",
        {},
        "15m",
        {"StagelineReplicasMissing": 1},
        without=("ray_serve_deployment_replica_healthy",),
    ),
    Case(
        "low precision",
        {
            f"stageline:variant_preferred{{{BF16}}}": "1x10 0x400",
            f"stageline:variant_preferred{{{INT8}}}": "0x10 1x400",
        },
        "45m",
        {"StagelineLowPrecision": 1},
    ),
    Case(
        "nobody has asked yet",
        {f"stageline:variant_preferred{{{BF16}}}": "0x400"},
        "45m",
    ),
    Case(
        "resumptions",
        {f'stageline:stream_resumptions_total{{{BF16},cause="died"}}': "0x20 9x300"},
        "25m",
        {"StagelineStreamsResumed": 1},
    ),
    Case("cache", {f"vllm:kv_cache_usage_perc{{{BF16}}}": "0.99x400"}, "20m", {"StagelineCacheFull": 1}),
    Case(
        "stages",
        {f'stageline:stage_busy_ratio{{{BF16},replica="a",stage="1"}}': "0.4x400"},
        "30m",
        {"StagelineStagesUneven": 1},
    ),
    Case(
        "stages that take turns, as one stream has them",
        {
            f'stageline:stage_busy_ratio{{{BF16},replica="a",stage="0"}}': "0.66x400",
            f'stageline:stage_busy_ratio{{{BF16},replica="a",stage="1"}}': "0.33x400",
        },
        "30m",
    ),
    Case(
        "stages with little to do",
        {
            f'stageline:stage_busy_ratio{{{BF16},replica="a",stage="0"}}': "0.4x400",
            f'stageline:stage_busy_ratio{{{BF16},replica="a",stage="1"}}': "0.01x400",
        },
        "30m",
    ),
    Case(
        "stages replaced",
        {f'stageline:stage_restarts_total{{{BF16},replica="a",stage="1"}}': "0x20 3x300"},
        "40m",
        {"StagelineStageRestarts": 1},
    ),
    Case("silent node", {f"up{{{RAY}}}": "1x10 0x400"}, "17m", {"StagelineNodeSilent": 1}),
    Case("memory", {f"ray_node_mem_used{{{RAY}}}": "95x400"}, "12m", {"StagelineNodeMemory": 1}),
    Case(
        "disk",
        {f"ray_node_disk_utilization_percentage{{{RAY}}}": "95x400"},
        "12m",
        {"StagelineNodeDisk": 1},
    ),
)


def series_of(case: Case) -> list[dict[str, str]]:
    found = {
        name: values for name, values in HEALTHY.items() if not name.startswith(case.without or "-")
    } | case.changed
    return [{"series": name, "values": values} for name, values in found.items()]


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The rules without what Kubernetes wraps around them."""
    content = yaml.safe_load((COMPONENT / "rules.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": content["spec"]["groups"]}), encoding="utf-8")
    return path


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


def test_rules_are_sound(rules: Path) -> None:
    done = promtool("check", "rules", rules)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case() -> None:
    assert {name for case in CASES for name in case.fires} == {alert["alert"] for alert in alerts()}


def test_alerts_fire_when_they_should(rules: Path, tmp_path: Path) -> None:
    tests: list[dict[str, Any]] = [
        {
            "name": case.name,
            "interval": "1m",
            "input_series": series_of(case),
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": case.at,
                    "exp_samples": [
                        {"labels": f'{{alertname="{name}"}}', "value": count} for name, count in case.fires.items()
                    ],
                }
            ],
        }
        for case in CASES
    ]
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [rules.name], "tests": tests}), encoding="utf-8")
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
