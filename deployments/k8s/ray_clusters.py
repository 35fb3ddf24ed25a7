"""The Ray clusters in KubeRay's resources: a RayCluster is one, a RayService and a RayJob have one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deployments.k8s.objects import KubeObject, get, mapping, mappings

_SPECS = {"RayCluster": "spec", "RayService": "spec.rayClusterConfig", "RayJob": "spec.rayClusterSpec"}


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A cluster's spec, and where it lies in its owner."""

    owner: KubeObject
    path: str
    spec: Mapping[str, Any]

    @property
    def head(self) -> Mapping[str, Any]:
        return mapping(self.spec, "headGroupSpec")

    @property
    def head_path(self) -> str:
        return f"{self.path}.headGroupSpec"

    def workers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The worker groups with their paths."""
        for path, group in mappings(self.spec, "workerGroupSpecs"):
            yield f"{self.path}.{path}", group

    def groups(self) -> Iterator[tuple[str, Mapping[str, Any], Literal["head", "worker"]]]:
        """The head's group and the workers'."""
        yield self.head_path, self.head, "head"
        for path, group in self.workers():
            yield path, group, "worker"

    @property
    def autoscales(self) -> bool:
        return get(self.spec, "enableInTreeAutoscaling", False) is True

    @property
    def autoscaler_v2(self) -> bool:
        """As KubeRay sees it: only where it is said. (Ray itself takes v2 where nothing is said.)"""
        return bool(get(self.spec, "autoscalerOptions.version") == "v2")

    @property
    def annotations(self) -> Mapping[str, Any]:
        return mapping(self.owner.data, "metadata.annotations")


def ray_clusters(objects: Sequence[KubeObject]) -> list[RayCluster]:
    """All of them."""
    found = []
    for one in objects:
        path = _SPECS.get(one.kind) if one.group == "ray.io" else None
        if path is not None and (one.kind != "RayJob" or get(one.data, path) is not None):
            found.append(RayCluster(one, path, mapping(one.data, path)))
    return found


def first_container(group: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container in which KubeRay runs Ray."""
    return next((container for _, container in mappings(group, "template.spec.containers")), {})


def environment(container: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A container's variables by name, each with its `value` or `valueFrom`."""
    return {str(item.get("name")): item for _, item in mappings(container, "env")}
