"""Every pod that objects will bring about: their own templates, and those inside of KubeRay's resources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deployments.k8s.objects import KubeObject, get, mapping, mappings
from deployments.k8s.ray_clusters import ray_clusters

Role = Literal["head", "worker", "other"]

# Where a kind has its template: the path of what has `metadata` and `spec`.
_TEMPLATES = {
    "Pod": "",
    "Deployment": "spec.template",
    "StatefulSet": "spec.template",
    "DaemonSet": "spec.template",
    "ReplicaSet": "spec.template",
    "Job": "spec.template",
    "CronJob": "spec.jobTemplate.spec.template",
}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod to be. `path` is that of its spec in the owner; `metadata` is what its template says, `labels` are all that
    it gets; `group` is the name of a Ray worker group."""

    owner: KubeObject
    path: str
    spec: Mapping[str, Any]
    metadata: Mapping[str, Any]
    labels: Mapping[str, str]
    role: Role = "other"
    group: str = ""

    @property
    def is_ray(self) -> bool:
        return self.role != "other"

    @property
    def ray_container(self) -> Mapping[str, Any]:
        """The first, as KubeRay wants it; an empty one where there is none."""
        return next((container for _, container in mappings(self.spec, "containers")), {})

    def containers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """All of them with their paths in the owner, those that only begin included."""
        for field in ("initContainers", "containers"):
            for path, container in mappings(self.spec, field):
                yield f"{self.path}.{path}", container


def pods_of(objects: Sequence[KubeObject]) -> list[Pod]:
    """All pods of all objects."""
    return [pod for one in objects for pod in _pods(one)]


def ray_pods(objects: Sequence[KubeObject]) -> list[Pod]:
    """Those which run Ray."""
    return [pod for pod in pods_of(objects) if pod.is_ray]


def _pods(one: KubeObject) -> Iterator[Pod]:
    if one.kind in _TEMPLATES and one.group in ("", "apps", "batch"):
        path = _TEMPLATES[one.kind]
        template = get(one.data, path, {}) if path else one.data
        metadata = mapping(template, "metadata")
        yield Pod(one, f"{path}.spec".lstrip("."), mapping(template, "spec"), metadata, mapping(metadata, "labels"))
    for cluster in ray_clusters([one]):
        for path, group, role in cluster.groups():
            name = str(group.get("groupName", "headgroup"))
            metadata = mapping(group, "template.metadata")
            labels = _labels_of_kuberay(one, role, name) | dict(mapping(metadata, "labels"))
            yield Pod(one, f"{path}.template.spec", mapping(group, "template.spec"), metadata, labels, role, name)
    if one.group == "ray.io" and get(one.data, "spec.submitterPodTemplate"):
        path = "spec.submitterPodTemplate"
        template = mapping(one.data, path)
        metadata = mapping(template, "metadata")
        yield Pod(one, f"{path}.spec", mapping(template, "spec"), metadata, mapping(metadata, "labels"))


def _labels_of_kuberay(one: KubeObject, role: Role, group: str) -> dict[str, str]:
    """What KubeRay puts on its pods. The cluster's own name is made up as it goes, so that is not among them."""
    labels = {
        "ray.io/is-ray-node": "yes",
        "ray.io/node-type": role,
        "ray.io/group": group,
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }
    if one.kind == "RayService":
        labels |= {
            "ray.io/originated-from-cr-name": one.name,
            "ray.io/originated-from-crd": "RayService",
            "ray.io/serve": "true",
        }
    return labels
