"""From two moments of a server to what a view of it shows: rates and latencies are those between the two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.top.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds within which half and 95% of what ended came; None where nothing ended."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage of a replica; shares 0 to 1."""

    index: int
    layers: str
    state: str
    process: str
    busy: float
    waiting: float
    memory_bytes: int
    restarts: int


@dataclass(frozen=True, slots=True)
class ReplicaRow:
    """A replica and its stages. `kv` and `bubble` 0 to 1, None where there is no such thing."""

    name: str
    process: str
    state: str
    running: int
    waiting: int
    kv: float | None
    tokens_per_s: float | None
    bubble: float | None
    stages: tuple[StageRow, ...]


@dataclass(frozen=True, slots=True)
class VariantRow:
    """A variant. `open` is what the front doors sent it and has no answer, `tokens_per_s` are those that it wrote or,
    where it writes none, read. `first` and `token` are None where answers come whole."""

    name: str
    state: str
    preferred: bool
    pressed: bool
    open: int
    running: int
    waiting: int
    kv: float | None
    requests_per_s: float
    tokens_per_s: float
    first: Quantiles | None
    token: Quantiles | None
    latency: Quantiles
    resumed: int
    replicas: tuple[ReplicaRow, ...]


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model. `steps`, `refused` and `failed` since the server's start."""

    name: str
    task: str
    steps: int
    refused: int
    failed: int
    variants: tuple[VariantRow, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """All of it, over so many seconds."""

    seconds: float
    ready: bool
    requests_per_s: float
    tokens_per_s: float
    stalls: int
    models: tuple[ModelRow, ...]


def frame(before: Snapshot, now: Snapshot) -> Frame:
    """What a view shows of `now`, with what changed since `before`."""
    models = tuple(_model(before, now, model) for model in now.models)
    variants = [variant for model in models for variant in model.variants]
    return Frame(
        seconds=max(0.0, now.at_s - before.at_s),
        # Each of several front doors tells for itself.
        ready=min((value for _, value in now.matching("stageline:ready")), default=0.0) > 0,
        requests_per_s=sum(one.requests_per_s for one in variants),
        tokens_per_s=sum(one.tokens_per_s for one in variants),
        stalls=int(now.total("stageline:stalls_total")),
        models=models,
    )


def rate(before: Snapshot, now: Snapshot, counter: str, **labels: str) -> float:
    """Per second. A counter that fell (its process was replaced) began at 0 again."""
    seconds = now.at_s - before.at_s
    if seconds <= 0:
        return 0.0
    was, is_ = before.total(counter, **labels), now.total(counter, **labels)
    return (is_ - was if is_ >= was else is_) / seconds


def quantile(share: float, before: Mapping[float, float], now: Mapping[float, float]) -> float | None:
    """The value that so large a share of what was counted between two moments stays under: buckets hold what is up to
    their bound, and within one, values are taken to be spread evenly, as Prometheus does. None for nothing."""
    grown = {bound: count - before.get(bound, 0.0) for bound, count in now.items()}
    if any(count < 0 for count in grown.values()):
        grown = dict(now)
    total = max(grown.values(), default=0.0)
    if total <= 0:
        return None
    wanted, low, below = share * total, 0.0, 0.0
    for bound in sorted(grown):
        if grown[bound] >= wanted:
            if math.isinf(bound):
                return low  # all that is known: it is more than the last bound
            inside = grown[bound] - below
            return low + (bound - low) * ((wanted - below) / inside if inside else 1.0)
        low, below = bound, grown[bound]
    return low


def _quantiles(before: Snapshot, now: Snapshot, histogram: str, labels: Mapping[str, str]) -> Quantiles:
    was, is_ = before.buckets(histogram, **labels), now.buckets(histogram, **labels)
    return Quantiles(quantile(0.5, was, is_), quantile(0.95, was, is_))


def _model(before: Snapshot, now: Snapshot, model: Mapping[str, Any]) -> ModelRow:
    name, task = str(model["name"]), str(model["task"])
    return ModelRow(
        name=name,
        task=task,
        steps=int(now.total("stageline:variant_steps_total", model_name=name)),
        refused=int(now.total("vllm:admission_rejections_total", model_name=name)),
        failed=int(now.total("vllm:request_success_total", model_name=name, finished_reason="error")),
        variants=tuple(_variant(before, now, name, task, variant) for variant in model["variants"]),
    )


def _variant(before: Snapshot, now: Snapshot, model: str, task: str, variant: Mapping[str, Any]) -> VariantRow:
    labels = {"model_name": model, "engine": str(variant["name"])}
    replicas = tuple(_replica(replica) for replica in variant["replicas"])
    whole = task != "text-generation"
    counted = "generation" if task in ("text-generation", "translation") else "prompt"
    return VariantRow(
        name=str(variant["name"]),
        state=str(variant["state"]),
        preferred=bool(now.largest("stageline:variant_preferred", **labels)),
        pressed=bool(now.largest("stageline:variant_pressed", **labels)),
        open=int(now.total("stageline:variant_open_requests", **labels)),
        running=sum(one.running for one in replicas),
        waiting=sum(one.waiting for one in replicas),
        kv=max((one.kv for one in replicas if one.kv is not None), default=None),
        requests_per_s=rate(before, now, "vllm:request_success_total", **labels),
        tokens_per_s=rate(before, now, f"vllm:{counted}_tokens_total", **labels),
        first=None if whole else _quantiles(before, now, "vllm:time_to_first_token_seconds", labels),
        token=None if whole else _quantiles(before, now, "vllm:inter_token_latency_seconds", labels),
        latency=_quantiles(before, now, "vllm:e2e_request_latency_seconds", labels),
        resumed=int(now.total("stageline:stream_resumptions_total", **labels)),
        replicas=replicas,
    )


def _replica(replica: Mapping[str, Any]) -> ReplicaRow:
    return ReplicaRow(
        name=str(replica.get("replica", "")),
        process=_process(replica),
        state=str(replica.get("state", "")),
        running=int(replica.get("running", 0)),
        waiting=int(replica.get("waiting", 0)),
        kv=replica.get("kv_cache_usage"),
        tokens_per_s=replica.get("tokens_per_s"),
        bubble=replica.get("bubble"),
        stages=tuple(_stages(replica.get("stages", ()))),
    )


def _stages(stages: Sequence[Mapping[str, Any]]) -> list[StageRow]:
    return [
        StageRow(
            index=int(stage["index"]),
            layers=str(stage["layers"]),
            state=str(stage["state"]),
            process=_process(stage),
            busy=float(stage["busy"]),
            waiting=float(stage["waiting"]),
            memory_bytes=int(stage["memory_bytes"]),
            restarts=int(stage["restarts"]),
        )
        for stage in stages
    ]


def _process(told: Mapping[str, Any]) -> str:
    return f"{told.get('pid', '')}@{told.get('node', '')}".strip("@")
