"""Fault tolerance of the head's store (GCS): what KubeRay sets from `gcsFaultToleranceOptions` is not set by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployments.k8s.objects import Fault, KubeObject, get
from deployments.k8s.ray_clusters import RayCluster, environment, first_container, ray_clusters

_ENABLED = "ray.io/ft-enabled"
_NAMESPACE = "ray.io/external-storage-namespace"
_REDIS_ONLY = ("redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace")
_ROCKSDB = ("RAY_gcs_storage", "RAY_gcs_storage_path")


def fault_tolerance(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Options, variables, start parameters and annotations that contradict each other."""
    for cluster in ray_clusters(objects):
        options = cluster.spec.get("gcsFaultToleranceOptions")
        variables = environment(first_container(cluster.head))
        env = f"{cluster.head_path}.template.spec.containers[0].env"
        if "REDIS_USERNAME" in variables or get(cluster.head, "rayStartParams.redis-username"):
            yield Fault(cluster.owner, env, "Redis' user is said by gcsFaultToleranceOptions.redisUsername only")
        if options is None:
            enabled = str(cluster.annotations.get(_ENABLED, "")).lower() == "true"
            if "RAY_REDIS_ADDRESS" in variables and not enabled:
                yield Fault(
                    cluster.owner, env, "RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions: give redisAddress there"
                )
            continue
        yield from _beside_options(cluster, variables, env)
        if options.get("backend") == "rocksdb":
            yield from _rocksdb(cluster, options, variables)
        elif options.get("storage") is not None:
            path = f"{cluster.path}.gcsFaultToleranceOptions.storage"
            yield Fault(cluster.owner, path, "this belongs to the backend rocksdb, and this is redis")


def _beside_options(cluster: RayCluster, variables: Mapping[str, Any], env: str) -> Iterator[Fault]:
    for annotation in (_ENABLED, _NAMESPACE):
        if cluster.annotations.get(annotation):
            path = f"metadata.annotations.{annotation}"
            yield Fault(cluster.owner, path, "gcsFaultToleranceOptions says that already: leave the annotation out")
    for name, field in (("REDIS_PASSWORD", "redisPassword"), ("RAY_REDIS_ADDRESS", "redisAddress")):
        if name in variables:
            yield Fault(cluster.owner, env, f"{name} is set from gcsFaultToleranceOptions.{field}: give it there")
    if get(cluster.head, "rayStartParams.redis-password"):
        path = f"{cluster.head_path}.rayStartParams.redis-password"
        yield Fault(cluster.owner, path, "the password is said by gcsFaultToleranceOptions.redisPassword")


def _rocksdb(cluster: RayCluster, options: Mapping[str, Any], variables: Mapping[str, Any]) -> Iterator[Fault]:
    path = f"{cluster.path}.gcsFaultToleranceOptions"
    for field in _REDIS_ONLY:
        if options.get(field):
            yield Fault(cluster.owner, f"{path}.{field}", "this belongs to the backend redis, and this is rocksdb")
    storage = options.get("storage") or {}
    if storage.get("claimName") and any(storage.get(key) for key in ("size", "storageClassName", "accessModes")):
        yield Fault(cluster.owner, f"{path}.storage", "a claim that exists has its size, class and modes already")
    for name in _ROCKSDB:
        if name in variables:
            yield Fault(
                cluster.owner, f"{cluster.head_path}.template.spec.containers[0].env", f"{name} is KubeRay's own"
            )
