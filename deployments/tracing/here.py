"""What traces in this process: None where nothing is traced, and then OpenTelemetry is not even imported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deployments.tracing.provider import SAMPLER, tracer_here, tracer_of

if TYPE_CHECKING:
    from deployments.settings.tracing import Tracing
    from deployments.tracing.replica import ReplicaTracer
    from deployments.tracing.requests import RequestTracer
    from deployments.tracing.stages import Traceable


def request_tracer(tracing: Tracing | None, instance: str) -> RequestTracer | None:
    """The front door's. Raises ConfigError where the extra is not installed."""
    tracer = None if tracing is None else tracer_of(tracing, "front-door", instance)
    if tracing is None or tracer is None:
        return None
    from deployments.tracing.requests import RequestTracer
    from deployments.tracing.sampler import Sampler

    own = None if os.environ.get(SAMPLER) else Sampler(tracing.sample, tracing.per_second)
    return RequestTracer(tracer, own)


def replica_tracer(model: str, variant: str, instance: str, pipeline: Traceable | None) -> ReplicaTracer | None:
    """A replica's, and of its stages where it is a `pipeline`. Raises ConfigError where the extra is not installed."""
    tracer = tracer_here(f"{model}:{variant}", instance)
    if tracer is None:
        return None
    from deployments.tracing.replica import ReplicaTracer
    from deployments.tracing.stages import StageTimes

    stages = None if pipeline is None else StageTimes(pipeline)
    if stages is not None:
        stages.begin()  # now, or the first request would find nothing remembered
    return ReplicaTracer(tracer, model, variant, stages)
