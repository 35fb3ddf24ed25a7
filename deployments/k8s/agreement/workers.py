"""Workers against what the configuration asks of them: cores, GPUs, numbers of pods."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployments.k8s.agreement.applications import FIELD, Application, applications
from deployments.k8s.agreement.serving import without_cores
from deployments.k8s.capacity import Part, PodSize, pack, parts, parts_while_replacing
from deployments.k8s.objects import Fault, KubeObject, get, mapping
from deployments.k8s.quantities import parse_quantity
from deployments.k8s.ray_clusters import RayCluster, first_container, ray_clusters

_ENOUGH = 10_000  # pods of a group that has no maximum


def head_without_work(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """The head has the cluster's state: nothing that computes may take its cores or its memory."""
    for cluster in ray_clusters(objects):
        if cluster.owner.kind == "RayService" and str(get(cluster.head, "rayStartParams.num-cpus")) != "0":
            path = f"{cluster.head_path}.rayStartParams.num-cpus"
            yield Fault(cluster.owner, path, 'say "0": replicas would be placed beside the cluster\'s state')


def ray_cpus(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """A worker offers Ray as many cores as its container has for itself: replicas run as many threads as they reserve.

    Where nothing is said KubeRay takes the limit, rounded up.
    """
    for cluster in ray_clusters(objects):
        if cluster.owner.kind != "RayService":
            continue
        for path, group in cluster.workers():
            offered, container = ray_cores(group), first_container(group)
            at = f"{path}.template.spec.containers[0].resources"
            for kind in ("requests", "limits"):
                cores = parse_quantity(get(container, f"resources.{kind}.cpu"))
                if cores is not None and cores != offered:
                    yield Fault(cluster.owner, f"{at}.{kind}.cpu", f"{cores:g} cores, and Ray offers {offered:g}")


def capacity(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Every replica and stage fits a worker; those that always run fit the workers that do (`minReplicas`), all at
    their most fit all workers, and there is room for the one more that a changed configuration starts first."""
    for served in applications(objects):
        if served.settings is None or without_cores(served.settings):
            continue
        sizes, cluster = pod_sizes(served.cluster), served.cluster
        most = parts(served.settings, most=True)
        alone = {part.name: part for part in most if pack([part], sizes).left}
        for part in alone.values():
            yield Fault(served.owner, FIELD, f"{part.name} needs {_needs(part)} on one node, and no worker has that")
        if alone:
            continue
        key = "maxReplicas" if cluster.autoscales else "replicas"
        counts = _counts(cluster, key)
        stuck = [wanted for wanted in parts_while_replacing(served.settings) if pack(wanted, sizes, counts).left]
        left = pack(most, sizes, counts).left
        path = f"{cluster.path}.workerGroupSpecs"
        if left:
            short = f"there is no place for {_names(left)} when all replicas run"
            yield Fault(served.owner, path, f"{short}; {_advice(most, sizes, key)}")
        elif stuck:
            yield Fault(
                served.owner,
                path,
                "a changed configuration would never be taken over: a new replica comes before an old one goes, and "
                f"even with the fewest there is no room for one more; {_advice(stuck[0], sizes, key)}",
            )
        if cluster.autoscales:
            yield from _always_running(served, sizes, path)


def _always_running(served: Application, sizes: Sequence[PodSize], path: str) -> Iterator[Fault]:
    """With fewer the autoscaler would add them, but a replica that always runs would wait for a node first."""
    assert served.settings is not None
    always = parts(served.settings, most=False)
    left = pack(always, sizes, _counts(served.cluster, "minReplicas", 0)).left
    if left:
        short = f"there is no place for {_names(left)}, which always run, on the workers that always run"
        yield Fault(served.owner, path, f"{short}; {_advice(always, sizes, 'minReplicas')}")


def ray_cores(group: Mapping[str, Any]) -> float:
    """Of a pod, as Ray counts them: what is said to it, or the container's limit or request, rounded up."""
    for said in (get(group, "resources", {}).get("CPU"), get(group, "rayStartParams.num-cpus")):
        cores = parse_quantity(said)
        if cores is not None:
            return cores
    container = first_container(group)
    limit = parse_quantity(get(container, "resources.limits.cpu"))
    return float(math.ceil(limit or parse_quantity(get(container, "resources.requests.cpu")) or 0))


def ray_gpus(group: Mapping[str, Any]) -> float:
    """Of a pod, as Ray counts them."""
    for said in (get(group, "resources", {}).get("GPU"), get(group, "rayStartParams.num-gpus")):
        gpus = parse_quantity(said)
        if gpus is not None:
            return gpus
    limits = mapping(first_container(group), "resources.limits")
    return sum(parse_quantity(value) or 0.0 for name, value in limits.items() if name.endswith("gpu"))


def pod_sizes(cluster: RayCluster) -> list[PodSize]:
    """What a pod of each worker group offers."""
    return [PodSize(str(group.get("groupName")), ray_cores(group), ray_gpus(group)) for _, group in cluster.workers()]


def _counts(cluster: RayCluster, key: str, unsaid: int = _ENOUGH) -> dict[str, int]:
    found = {}
    for _, group in cluster.workers():
        count = group.get(key)
        found[str(group.get("groupName"))] = min(int(unsaid if count is None else count), _ENOUGH)
    return found


def _needs(part: Part) -> str:
    gpus = f" and {part.gpus:g} GPUs" if part.gpus else ""
    return f"{part.cpus:g} cores{gpus}"


def _names(left: Sequence[Part]) -> str:
    counts = {part.name: sum(one.name == part.name for one in left) for part in left}
    return ", ".join(f"{count} x {name}" for name, count in counts.items())


def _advice(wanted: Sequence[Part], sizes: Sequence[PodSize], key: str) -> str:
    pods = pack(wanted, sizes).pods
    return "needed: " + ", ".join(f"{key} {count} of {group}" for group, count in pods.items() if count)
