"""Names of other objects: what a pod asks for is made here, or is known to be made in the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployments.k8s.facts import Facts
from deployments.k8s.objects import Fault, KubeObject, get, mapping, mappings, of_kind
from deployments.k8s.pods import Pod, pods_of
from deployments.k8s.ray_clusters import ray_clusters

_GIVEN = {"ConfigMap": {"kube-root-ca.crt"}, "ServiceAccount": {"default"}}  # in every namespace
_TOKEN_KEY = "auth_token"

# (path, kind, name, key): what is referred to. A key of "" is any.
Reference = tuple[str, str, str, str]


def references(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """Secrets with their keys, ConfigMaps with theirs, claims and accounts, unless they are said to be optional."""
    for pod in pods_of(objects):
        for path, kind, name, key in _of_pod(pod):
            yield from _check(objects, facts, pod.owner, path, kind, name, key)
    for cluster in ray_clusters(objects):
        secret = get(cluster.spec, "authOptions.secretName")
        if secret is not None:
            path = f"{cluster.path}.authOptions.secretName"
            yield from _check(objects, facts, cluster.owner, path, "Secret", secret, _TOKEN_KEY)
        for key in ("redisPassword", "redisUsername"):
            at = f"gcsFaultToleranceOptions.{key}.valueFrom.secretKeyRef"
            asked = get(cluster.spec, at)
            if asked is not None:
                path, name = f"{cluster.path}.{at}", asked.get("name")
                yield from _check(objects, facts, cluster.owner, path, "Secret", name, asked.get("key"))


def _check(
    objects: Sequence[KubeObject], facts: Facts, owner: KubeObject, path: str, kind: str, name: Any, key: Any
) -> Iterator[Fault]:
    name, key = str(name), str(key or "")
    if name in _GIVEN.get(kind, ()):
        return
    made = next((one for one in of_kind(objects, kind) if one.name == name), None)
    if made is not None:
        keys = {*mapping(made.data, "data"), *mapping(made.data, "stringData"), *mapping(made.data, "binaryData")}
    elif kind == "Secret" and name in facts.secrets:
        keys = set(facts.secrets[name])
    else:
        known = f"; known Secrets: {', '.join(sorted(facts.secrets))}" if kind == "Secret" else ""
        yield Fault(owner, path, f"there is no {kind} {name} here{known}{_own(kind, name, key)}")
        return
    if key and kind in ("Secret", "ConfigMap") and key not in keys:
        yield Fault(owner, path, f"the {kind} {name} has no key {key}{_own(kind, name, key) if made is None else ''}")


def _own(kind: str, name: str, key: str) -> str:
    """What to do about a Secret that somebody makes."""
    return f"; if you make it in the cluster: --secret {name}={key or 'KEY'}" if kind == "Secret" else ""


def _of_pod(pod: Pod) -> Iterator[Reference]:
    account = pod.spec.get("serviceAccountName")
    if account is not None:
        yield f"{pod.path}.serviceAccountName", "ServiceAccount", str(account), ""
    for path, container in pod.containers():
        for at, variable in mappings(container, "env"):
            for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                asked = get(variable, f"valueFrom.{field}")
                if asked is not None and not asked.get("optional"):
                    yield f"{path}.{at}", kind, str(asked.get("name")), str(asked.get("key"))
        for at, source in mappings(container, "envFrom"):
            for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                asked = source.get(field)
                if asked is not None and not asked.get("optional"):
                    yield f"{path}.{at}", kind, str(asked.get("name")), ""
    claims = {str(get(claim, "metadata.name")) for _, claim in mappings(pod.owner.data, "spec.volumeClaimTemplates")}
    names = {str(volume.get("name")) for _, volume in mappings(pod.spec, "volumes")} | claims
    for path, container in pod.containers():
        for at, mount in mappings(container, "volumeMounts"):
            if mount.get("name") not in names:
                yield f"{path}.{at}", "volume", str(mount.get("name")), ""
    for at, volume in mappings(pod.spec, "volumes"):
        yield from _of_volume(f"{pod.path}.{at}", volume)


def _of_volume(path: str, volume: Mapping[str, Any]) -> Iterator[Reference]:
    sources = [volume, *(source for _, source in mappings(volume, "projected.sources"))]
    for source in sources:
        for field, kind, name in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name")):
            asked = source.get(field)
            if asked is None or asked.get("optional"):
                continue
            target = str(asked.get(name) or asked.get("name"))
            yield path, kind, target, ""
            for _, item in mappings(asked, "items"):
                yield path, kind, target, str(item.get("key"))
    claim = get(volume, "persistentVolumeClaim.claimName")
    if claim is not None:
        yield path, "PersistentVolumeClaim", str(claim), ""


def scalers(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Serve decides how many replicas there are, and Ray's autoscaler how many pods: nobody else may."""
    ray = {one.name for one in objects if one.group == "ray.io"}
    for one in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject", "VerticalPodAutoscaler"):
        target = get(one.data, "spec.scaleTargetRef") or get(one.data, "spec.targetRef") or {}
        if str(target.get("kind", "")).startswith("Ray") or target.get("name") in ray:
            yield Fault(one, "spec", f"Ray's own autoscaler owns the pods of {target.get('name')}: leave this out")
