"""Kubernetes' own kinds against its schemas, from the package `kubernetes-validate`. Unknown fields are errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from deployments.k8s.objects import Fault, KubeObject
from deployments.k8s.pods import ray_pods
from deployments.k8s.schemas.errors import faults
from engine.errors import ConfigError

# What Kubernetes itself has: groups without a dot, or those of k8s.io.
_POD = "io.k8s.api.core.v1.PodSpec"
_METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
CORE_GROUPS = ("", "apps", "batch", "autoscaling", "policy")


def is_core(one: KubeObject) -> bool:
    """Whether Kubernetes knows the kind without a custom resource definition."""
    return one.group in CORE_GROUPS or (one.group.endswith(".k8s.io") and not one.group.startswith("gateway."))


def core_schema(objects: Sequence[KubeObject], version: str) -> Iterator[Fault]:
    """Objects of Kubernetes' own kinds, as its `version` (such as 1.35) knows them."""
    for one in objects:
        if not is_core(one):
            continue
        validator = _validator(one.kind, one.api_version, version)
        if validator is None:
            yield Fault(one, "kind", f"Kubernetes {version} has no {one.kind} in {one.api_version or 'no version'}")
        else:
            yield from faults(one, validator.iter_errors(one.data))


def pod_schema(objects: Sequence[KubeObject], version: str) -> Iterator[Fault]:
    """The pods inside of KubeRay's resources, as pods: so a typo in one is found without KubeRay's schemas, too."""
    for pod in ray_pods(objects):
        yield from faults(pod.owner, _part_validator(_POD, version).iter_errors(pod.spec), pod.path)


def metadata_schema(objects: Sequence[KubeObject], version: str) -> Iterator[Fault]:
    """Names, labels and annotations of custom resources and of the pods in them, which definitions leave to
    Kubernetes."""
    validator = _part_validator(_METADATA, version)
    for one in objects:
        if not is_core(one):
            yield from faults(one, validator.iter_errors(one.data.get("metadata") or {}), "metadata")
    for pod in ray_pods(objects):
        path = f"{pod.path.removesuffix('.spec')}.metadata"
        yield from faults(pod.owner, validator.iter_errors(pod.metadata), path)


def supported_versions() -> list[str]:
    """Such as 1.35, oldest first."""
    kubernetes_validate = _package()
    return sorted({_minor(version) for version in kubernetes_validate.all_versions()}, key=_numbers)


def _package() -> Any:
    try:
        import kubernetes_validate
    except ImportError:
        raise ConfigError(
            "The schemas of Kubernetes are not installed: pip install 'stageline[k8s]' (or kubernetes-validate)."
        ) from None
    return kubernetes_validate.utils


@lru_cache(maxsize=4)
def _definitions(version: str) -> tuple[str, Any]:
    """The folder of a version, and what all of its schemas refer to, read once."""
    from referencing import Registry, Resource

    full = next((known for known in reversed(_package().all_versions()) if _minor(known) == version), None)
    if full is None:
        known = ", ".join(supported_versions())
        raise ConfigError(f"There are no schemas of Kubernetes {version}; known here: {known}.", param="kubernetes")
    folder = f"kubernetes-json-schema/v{full}-local-strict"
    contents = _package().schema_contents(f"{folder}/_definitions.json", version)
    return folder, Resource.from_contents(contents) @ Registry()


@lru_cache(maxsize=256)
def _validator(kind: str, api_version: str, version: str) -> Any:
    """For one kind; None where that version has no such kind."""
    from jsonschema import Draft202012Validator
    from referencing import Resource

    folder, registry = _definitions(version)
    group, _, last = api_version.rpartition("/")
    stem = f"{group.split('.')[0]}-{last}" if group else last
    try:
        schema = _package().schema_contents(f"{folder}/{kind.lower()}-{stem}.json", version)
    except FileNotFoundError:
        return None
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry)


@lru_cache(maxsize=8)
def _part_validator(definition: str, version: str) -> Any:
    """For a part of objects, by the name of its definition."""
    from jsonschema import Draft202012Validator

    _, registry = _definitions(version)
    address = next(iter(registry))
    return Draft202012Validator({"$ref": f"{address}#/$defs/{definition}"}, registry=registry)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
