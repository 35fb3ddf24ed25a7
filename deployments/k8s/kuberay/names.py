"""Names: KubeRay appends to them, and Kubernetes ends them at 63 characters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from deployments.k8s.objects import Fault, KubeObject, get
from deployments.k8s.ray_clusters import ray_clusters

_CLUSTER = 53  # with "-serve-svc" behind it that makes 63
LONGEST = {"RayCluster": _CLUSTER, "RayService": _CLUSTER - 6, "RayJob": _CLUSTER - 6}
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_GROUP = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def names(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Of the resources themselves and of the worker groups."""
    for one in objects:
        if one.group != "ray.io" or one.kind not in LONGEST:
            continue
        if len(one.name) > LONGEST[one.kind]:
            yield Fault(one, "metadata.name", f"{one.name} is longer than {LONGEST[one.kind]} characters")
        elif not _DNS_LABEL.fullmatch(one.name):
            yield Fault(
                one, "metadata.name", f"{one.name!r} has to begin with a letter; then a-z, 0-9 and - inside are allowed"
            )
        if one.kind == "RayService" and get(one.data, "spec.rayClusterConfig.headGroupSpec.headService.metadata.name"):
            path = "spec.rayClusterConfig.headGroupSpec.headService.metadata.name"
            yield Fault(one, path, "KubeRay names the head's service of a RayService itself: leave the name out")
    yield from _group_names(objects)


def _group_names(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    for cluster in ray_clusters(objects):
        seen: set[str] = set()
        for path, group in cluster.workers():
            name = str(group.get("groupName", ""))
            if name in seen or name == "headgroup":
                yield Fault(cluster.owner, f"{path}.groupName", f"the name {name} is taken by another group")
            elif len(name) > 63 or not _GROUP.fullmatch(name):
                # It becomes part of the pods' names and a label.
                yield Fault(cluster.owner, f"{path}.groupName", f"{name!r} is not a DNS label (a-z, 0-9, - inside)")
            seen.add(name)
