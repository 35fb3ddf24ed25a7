"""Real streams on real nodes, and real losses: the benchmark itself, shortened."""

from __future__ import annotations

import pytest
from rich.console import Console

from cluster.nodes.namespaces import unavailable
from deployments.bench.faults.run import Trial, bench_faults
from deployments.cli.bench import FAULTS_CONFIG
from deployments.settings import load_settings

pytestmark = [
    pytest.mark.ray,
    pytest.mark.model,
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]


def test_no_token_is_lost_or_changed(demo_models: object) -> None:
    trial = Trial(
        "smollm2", streams=10, tokens=40, minutes=0, nodes=5, cpus=1, seed=1, kinds=("stage killed", "node killed")
    )
    result = bench_faults(load_settings(FAULTS_CONFIG), FAULTS_CONFIG, trial, Console(stderr=True))
    assert [one["kind"] for one in result["injuries"]] == list(trial.kinds)
    assert all(one["recovered_s"] is not None for one in result["injuries"]), result["injuries"]
    assert result["streams"] >= trial.streams
    assert result["lost_streams"] == []
    assert result["changed_streams"] == []
    assert result["left_over"] == []
