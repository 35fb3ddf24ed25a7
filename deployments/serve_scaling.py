"""The scaling policy as Ray Serve calls it, in its controller.

Serve adds delays and factors of its own to what a policy says; they are set so that they change nothing. Only its rule
for a deployment without replicas cannot be turned off, and fits: the first call that waits brings one at once.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import asdict
from typing import Any

from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from deployments.scaling import Bounds, Memory, ReplicaLoad, Seen, decide
from deployments.settings import Replicas

# Replicas and callers tell the controller how they are so often. `metrics_interval_s` is called deprecated in favour of
# RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S and its like, which Ray 2.60 defines and never reads.
TELL_S = 0.5
LOOK_BACK_S = 2.5  # how much of it is kept: only the last point is used


def autoscaling(replicas: Replicas) -> AutoscalingConfig:
    """Serve's configuration for a variant."""
    bounds = Bounds(replicas.min, replicas.max, replicas.idle_s)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=replicas.min,
            max_replicas=replicas.max,
            initial_replicas=replicas.min,
            metrics_interval_s=TELL_S,
            look_back_period_s=LOOK_BACK_S,
            upscale_delay_s=0.0,
            downscale_delay_s=0.0,
            downscale_to_zero_delay_s=0.0,
            policy=AutoscalingPolicy(policy_function=VariantPolicy, policy_kwargs=asdict(bounds)),
        )


class VariantPolicy:
    """Serve makes one for each deployment. What it remembers goes through Serve's hands, so that calls stay pure."""

    def __init__(self, **bounds: Any) -> None:
        self.bounds = Bounds(**bounds)

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        now = time.monotonic()  # Serve's own time is the wall clock's, which may be set
        memory, at_s = context.policy_state.get("memory", Memory()), context.policy_state.get("at_s", now)
        if at_s > now:  # remembered by a controller on another machine
            memory = Memory()
        target, memory = decide(seen(context), self.bounds, memory, now)
        return target, {"memory": memory, "at_s": now}


def seen(context: AutoscalingContext) -> Seen:
    """What the policy needs of Serve's context."""
    told = context.raw_metrics or {}
    last = {
        replica: ReplicaLoad(**{name: _last(told.get(name, {}).get(replica)) for name in ReplicaLoad.__slots__})
        for replica in context.running_replicas
    }
    queued = context.total_queued_requests or 0.0
    return Seen(tuple(last.values()), context.current_num_replicas, context.target_num_replicas, queued)


def _last(points: Any) -> float:
    """The newest value; 0 where a replica has told nothing yet, and for what is no number."""
    value = float(points[-1].value) if points else 0.0
    return value if math.isfinite(value) else 0.0
