"""The Serve application: one deployment a variant, and the front door before them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve

from deployments.generation_replica import GenerationReplica
from deployments.ingress import Ingress, Offer
from deployments.serving import DRAIN_S
from deployments.settings import Model, Settings, Variant
from engine.config import EngineConfig

FRONT_DOOR = "front-door"
HEALTH_CHECK_PERIOD_S = 2.0


def build_app(settings: Settings, paths: Mapping[str, Path]) -> serve.Application:
    """The application for resolved settings (see `Settings.with_cores`); `paths` are the models' files by name."""
    handles = {
        (model.name, variant.name): variant_deployment(model, variant, paths[model.name])
        for model in settings.models
        for variant in model.variants
    }
    offers = tuple(
        Offer(model.name, model.task, str(paths[model.name]), tuple(variant.name for variant in model.variants))
        for model in settings.models
    )
    deploy = serve.deployment(
        name=FRONT_DOOR,
        num_replicas=1,
        max_ongoing_requests=10_000,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        graceful_shutdown_timeout_s=DRAIN_S,
        # No core is set aside for it: the replicas' threads leave gaps, and a core less would cost more.
        ray_actor_options={"num_cpus": 0},
    )
    app: serve.Application = deploy(serve.ingress()(Ingress)).bind(offers, handles, settings.http.max_body)
    return app


def variant_deployment(model: Model, variant: Variant, path: Path) -> serve.Application:
    """One variant's replicas, each with its own cores and as many threads."""
    assert variant.cores is not None
    config = model.engine_config(variant, cores=variant.cores)
    deploy = serve.deployment(
        name=deployment_name(model.name, variant.name),
        **scale(variant, config),
        # The engine's own queue is the limit; Serve's is for the time when no replica lives.
        max_queued_requests=config.max_running + config.max_waiting,
        max_ongoing_requests=2 * (config.max_running + config.max_waiting),
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        graceful_shutdown_timeout_s=DRAIN_S,
        ray_actor_options={
            "num_cpus": variant.cores,
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(variant.cores)}},
        },
    )
    app: serve.Application = deploy(GenerationReplica).bind(model.name, variant.name, str(path), config)
    return app


def scale(variant: Variant, config: EngineConfig) -> dict[str, Any]:
    """A fixed number of replicas, or Serve's autoscaling between two."""
    replicas = variant.replicas
    if replicas.min == replicas.max:
        return {"num_replicas": replicas.min}
    autoscaling = {
        "min_replicas": replicas.min,
        "max_replicas": replicas.max,
        # Another replica when the batches of those that run are about full.
        "target_ongoing_requests": max(1, config.max_running * 3 // 4),
    }
    return {"autoscaling_config": autoscaling}


def deployment_name(model: str, variant: str) -> str:
    """Serve's name for a variant's deployment; slashes separate things in Serve's own names."""
    return f"{model.replace('/', '--')}:{variant}".replace(":", "--")
