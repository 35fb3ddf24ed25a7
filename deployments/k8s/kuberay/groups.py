"""The head's group and the workers': containers, resources, labels, numbers of replicas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from deployments.k8s.objects import Fault, KubeObject, get, mapping
from deployments.k8s.ray_clusters import first_container, ray_clusters

_RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def containers(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Ray runs in a group's first container."""
    for cluster in ray_clusters(objects):
        for path, group, _ in cluster.groups():
            if not first_container(group):
                yield Fault(
                    cluster.owner, f"{path}.template.spec.containers", "a group needs a container to run Ray in"
                )


def resources_once(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """What a node offers is said in rayStartParams or in `resources`, not in both."""
    for cluster in ray_clusters(objects):
        for path, group, _ in cluster.groups():
            said = [name for name in _RESOURCES if get(group, f"rayStartParams.{name}")]
            if said and group.get("resources"):
                yield Fault(
                    cluster.owner,
                    f"{path}.resources",
                    f"rayStartParams has {said[0]} already: say it in one of the two",
                )


def labels(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Ray's labels of a node have a field of their own, and Kubernetes' form."""
    for cluster in ray_clusters(objects):
        for path, group, _ in cluster.groups():
            if "labels" in mapping(group, "rayStartParams"):
                yield Fault(cluster.owner, f"{path}.rayStartParams.labels", "use the group's own field `labels`")
            for key, value in mapping(group, "labels").items():
                prefix, slash, name = str(key).rpartition("/")
                if (slash and not _PREFIX.fullmatch(prefix)) or not _LABEL.fullmatch(name):
                    yield Fault(cluster.owner, f"{path}.labels", f"{key!r} is not a label's name")
                if value and not _LABEL.fullmatch(str(value)):
                    yield Fault(cluster.owner, f"{path}.labels.{key}", f"{value!r} is not a label's value")


def replicas(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """min <= replicas <= max, and both given where nothing scales."""
    for cluster in ray_clusters(objects):
        for path, group in cluster.workers():
            least, now, most = (group.get(key) for key in ("minReplicas", "replicas", "maxReplicas"))
            if not cluster.autoscales and (least is None or most is None):
                yield Fault(cluster.owner, path, "without the autoscaler minReplicas and maxReplicas have to be given")
            for key in ("minReplicas", "replicas", "maxReplicas"):
                if isinstance(group.get(key), int) and group[key] < 0:
                    yield Fault(cluster.owner, f"{path}.{key}", "there is no less than none")
            if isinstance(least, int) and isinstance(most, int) and least > most:
                yield Fault(cluster.owner, f"{path}.minReplicas", f"{least} is more than maxReplicas, {most}")
            elif isinstance(now, int):
                # KubeRay corrects these two, so what is written is not what runs.
                if isinstance(least, int) and now < least:
                    yield Fault(cluster.owner, f"{path}.replicas", f"{now} is less than minReplicas, {least}")
                if isinstance(most, int) and now > most:
                    yield Fault(cluster.owner, f"{path}.replicas", f"{now} is more than maxReplicas, {most}")
