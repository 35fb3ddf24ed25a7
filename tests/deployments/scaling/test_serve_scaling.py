"""What Serve is told, and what the policy reads of what Serve tells it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from deployments.load import Load
from deployments.scaling import ReplicaLoad
from deployments.serve_scaling import TELL_S, VariantPolicy, autoscaling, seen
from deployments.settings import Replicas

ID = DeploymentID("m--bf16", "stageline")
FIRST, SECOND = ReplicaID("a", ID), ReplicaID("b", ID)


def context(told: dict[str, Any], state: dict[str, Any] | None = None) -> AutoscalingContext:
    return AutoscalingContext(
        deployment_id=ID,
        deployment_name=ID.name,
        app_name=ID.app_name,
        current_num_replicas=2,
        target_num_replicas=2,
        running_replicas=[FIRST, SECOND],
        total_num_requests=0.0,
        total_queued_requests=lambda: 3.0,
        aggregated_metrics=None,
        raw_metrics=told,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=8,
        policy_state=state or {},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=0.0,
        config=None,
    )


def series(*values: float) -> list[Any]:
    return [SimpleNamespace(timestamp=float(at), value=value) for at, value in enumerate(values)]


def test_serve_adds_no_delays_and_asks_often() -> None:
    config = autoscaling(Replicas(min=0, max=4, idle_s=60))
    assert (config.min_replicas, config.initial_replicas, config.max_replicas) == (0, 0, 4)
    assert (config.upscale_delay_s, config.downscale_delay_s, config.downscale_to_zero_delay_s) == (0, 0, 0)
    assert (config.get_upscaling_factor(), config.get_downscaling_factor()) == (1, 1)
    assert config.metrics_interval_s == TELL_S <= 1


def test_the_policy_survives_its_way_to_the_controller() -> None:
    config = autoscaling(Replicas(min=1, max=3))
    policy = config.policy.get_policy()(**config.policy.policy_kwargs)
    assert (policy.bounds.min, policy.bounds.max) == (1, 3)
    assert AutoscalingConfig(**config.model_dump()).policy == config.policy


def test_what_replicas_told_last_counts_and_no_number_is_none() -> None:
    told = {"running": {FIRST: series(5, 2)}, "velocity": {FIRST: series(1, 250), SECOND: series(math.nan)}}
    found = seen(context(told))
    assert found.loads == (ReplicaLoad(running=2, velocity=250), ReplicaLoad())
    assert (found.current, found.target, found.queued) == (2, 2, 3)


def test_a_replica_tells_what_the_policy_reads() -> None:
    load = Load("a", 1, 2, 3.0, 4.0, tokens_per_s=5.0, capacity_tokens_per_s=6.0, turned_away_per_s=7.0)
    assert ReplicaLoad.of(load) == ReplicaLoad(1, 2, 3.0, 4.0, 5.0, 6.0, 7.0)


def test_what_it_remembers_goes_through_serve() -> None:
    policy = VariantPolicy(min=1, max=8, idle_s=300.0)
    told = {"running": {FIRST: series(9)}, "velocity": {FIRST: series(900)}, "capacity": {FIRST: series(300)}}
    target, state = policy(context(told))
    assert target == 4
    assert state["memory"].capacity == 300
    _, later = policy(context({"running": {FIRST: series(1)}}, state))
    assert later["memory"].capacity == 300, "no longer told, still known"
    _, elsewhere = policy(context({"running": {FIRST: series(1)}}, {**state, "at_s": math.inf}))
    assert elsewhere["memory"].capacity == 0, "another machine's time says nothing here"
