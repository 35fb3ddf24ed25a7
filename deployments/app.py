"""The Serve application: one deployment a variant, and the front door before them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig

from cluster.pipeline.placement import Resources, place
from cluster.threads import thread_environment
from deployments.encoder_replica import EncoderReplica
from deployments.gate import Verdict
from deployments.generation_replica import GenerationReplica
from deployments.ingress import Ingress
from deployments.logs import environment
from deployments.offers import Offer, OfferedVariant
from deployments.pipelines import Cut
from deployments.provision import VariantFiles
from deployments.replica import Replica
from deployments.serve_router import ListingRouter
from deployments.serve_scaling import autoscaling
from deployments.serving import DRAIN_S
from deployments.settings import Model, Settings, Variant
from deployments.tracing.provider import environment as tracing_environment
from deployments.translation_replica import TranslationReplica

FRONT_DOOR = "front-door"
ROUTER = f"{ListingRouter.__module__}:{ListingRouter.__qualname__}"
HEALTH_CHECK_PERIOD_S = 2.0
HEALTH_CHECK_TIMEOUT_S = 10.0  # three in a row without an answer, and a replica is replaced
RAY_UNIT = 1e-4  # of a core: Ray counts no less
NODE_GROUP, HEAD_GROUP = "ray.io/node-group", "headgroup"  # how KubeRay labels the head
ONE_MORE = 1  # percent of a deployment's replicas, rounded up
QUIET = {"enable_access_log": False}  # Serve's line for each request costs as much as tokenizing a short text


def build_app(
    settings: Settings,
    files: Mapping[tuple[str, str], VariantFiles],
    verdicts: Mapping[tuple[str, str], Verdict],
    *,
    share: float,
    surge: bool = False,
) -> serve.Application:
    """The application for resolved settings (see `Settings.with_cores`). `files` and what was measured (`verdicts`) are
    by model and variant.

    Replicas reserve this `share` of their cores. With `surge` a replica that is to be replaced goes on until its
    successor answers, for which the cluster needs room for one more; otherwise it ends first.
    """
    watching = settings.watchdog.limits.environment()
    env = {**watching, **environment(settings.logs), **tracing_environment(settings.tracing)}
    handles = {
        (model.name, variant.name): variant_deployment(
            model, variant, files[model.name, variant.name], share, surge=surge, env=env
        )
        for model in settings.models
        for variant in model.variants
    }
    offers = tuple(
        Offer(
            model.name,
            model.task,
            files[model.name, model.variants[0].name].base,
            tuple(
                offered(variant, verdicts.get((model.name, variant.name)), shares=share < 1)
                for variant in model.variants
            ),
            model.pairs,
            model.promised,
            settings.drift.share,
        )
        for model in settings.models
    )
    http = settings.http
    doors = front_doors(http.front_doors)
    if watching:
        doors["ray_actor_options"]["runtime_env"] = {"env_vars": watching}
    deploy = serve.deployment(
        name=FRONT_DOOR,
        **doors,
        max_ongoing_requests=10_000,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        graceful_shutdown_timeout_s=DRAIN_S,
        logging_config=QUIET,
    )
    app: serve.Application = deploy(serve.ingress()(Ingress)).bind(
        offers, handles, http, settings.access.keys, settings.logs, settings.tracing
    )
    return app


def front_doors(count: int) -> dict[str, Any]:
    """How many, and where, as Serve takes it. No core is set aside for them: the replicas' threads leave gaps, and a
    core less would cost more."""
    if count == 1:
        # It is where the proxy is: a worker that dies takes no connection along. A successor finds room beside it.
        head = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
        return {"num_replicas": 1, "max_surge_percent": ONE_MORE, "ray_actor_options": head}
    # Rather not on the head, whose death they are to outlive. (Elsewhere no node has such a label, and all are equal.)
    beside = {"label_selector": {NODE_GROUP: f"!{HEAD_GROUP}"}, "fallback_strategy": [{"label_selector": {}}]}
    # Successors wait for their predecessors' nodes, or they would find none where each node has one.
    return {"num_replicas": count, "max_replicas_per_node": 1, "ray_actor_options": {"num_cpus": 0, **beside}}


def offered(variant: Variant, verdict: Verdict | None, *, shares: bool = False) -> OfferedVariant:
    """With what was measured. fp32 is what quality is measured against, and bf16 is taken to be as good until it was
    measured."""
    quality = None if verdict is None else verdict.quality
    plain = 1.0 if variant.precision in ("fp32", "bf16") else None
    return OfferedVariant(
        variant.name,
        retained=plain if quality is None else quality.retained,
        measured=quality is not None or variant.precision == "fp32",
        speedup=1.0 if variant.precision == "fp32" else None if quality is None else quality.speedup,
        may_sleep=variant.replicas.min == 0,
        shares=shares,
    )


def variant_deployment(
    model: Model,
    variant: Variant,
    files: VariantFiles,
    share: float,
    *,
    surge: bool = False,
    env: Mapping[str, str] = MappingProxyType({}),
) -> serve.Application:
    """One variant's replicas, each with as many threads as cores, of which it reserves a share. A replica of several
    stages reserves them for each stage, and a place for itself. `env` is added to their environment."""
    assert variant.cores is not None
    kind = kind_of(model, variant, cores=variant.cores, cut=Cut.of(variant.stages, stage_cpus(variant, share)))
    deploy = serve.deployment(
        name=deployment_name(model.name, variant.name),
        **scale(variant),
        max_ongoing_requests=1000,  # questions; what is to be computed comes over channels
        # (Its `__init__` is annotated wrongly.)
        request_router_config=RequestRouterConfig(request_router_class=ROUTER),  # type: ignore[arg-type]
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        health_check_timeout_s=HEALTH_CHECK_TIMEOUT_S,
        graceful_shutdown_timeout_s=DRAIN_S,
        max_surge_percent=ONE_MORE if surge else 0,
        logging_config=QUIET,
        **placed(variant, share, env),
    )
    app: serve.Application = deploy(kind.replica).bind(model.name, variant.name, files, *kind.arguments)
    return app


def placed(variant: Variant, share: float, env: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """What a replica reserves, as Serve takes it: of each of its cores a share, and places for its stages."""
    assert variant.cores is not None
    cpus = stage_cpus(variant, share)
    threads = {"runtime_env": {"env_vars": {**thread_environment(variant.cores), **env}}}
    stages = variant.stages
    if stages.count == 1:
        return {"ray_actor_options": {"num_cpus": cpus, **threads}}
    placement = place(
        stages.count, Resources(cpus, stages.num_gpus), stages.placement, driver={"CPU": stages.driver_cpus}
    )
    return {
        # Serve puts the replica into the first bundle, and what it starts into the group.
        "ray_actor_options": {"num_cpus": stages.driver_cpus, **threads},
        "placement_group_bundles": [dict(bundle) for bundle in placement.bundles],
        "placement_group_strategy": placement.strategy,
    }


def stage_cpus(variant: Variant, share: float) -> float:
    """What each process that computes reserves."""
    assert variant.cores is not None
    # Rounded down: rounded up, the last one would find no place. Stages leave some for the drivers beside them.
    unit = RAY_UNIT if variant.stages.count == 1 else 10 * RAY_UNIT
    return round(max(1, math.floor(variant.cores * share / unit + 1e-6)) * unit, 4)


@dataclass(frozen=True, slots=True)
class Kind:
    """What runs a task: the class of its replicas, and what it takes beside names and files."""

    replica: type[Replica[Any, Any, Any, Any]]
    arguments: tuple[Any, ...]


def kind_of(model: Model, variant: Variant, *, cores: int, cut: Cut | None) -> Kind:
    """By the model's task."""
    match model.task:
        case "text-generation":
            config = model.engine_config(variant, cores=cores)
            return Kind(GenerationReplica, (config, cut))
        case "translation":
            return Kind(TranslationReplica, (model.seq2seq_config(variant, cores=cores), cut))
    return Kind(EncoderReplica, (model.encoder_config(variant, cores=cores), model.task, cut))


def scale(variant: Variant) -> dict[str, Any]:
    """A fixed number of replicas, or as many as its load needs."""
    replicas = variant.replicas
    if replicas.min == replicas.max:
        return {"num_replicas": replicas.min}
    return {"autoscaling_config": autoscaling(replicas)}


def deployment_name(model: str, variant: str) -> str:
    """Serve's name for a variant's deployment; slashes separate things in Serve's own names."""
    return f"{model.replace('/', '--')}:{variant}".replace(":", "--")
