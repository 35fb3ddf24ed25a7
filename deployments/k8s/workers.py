"""How large the workers of an overlay have to be, and how many, for a configuration."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deployments.k8s.agreement.budgets import budgeted
from deployments.k8s.agreement.workers import pod_sizes
from deployments.k8s.capacity import Part, PodSize, pack, parts, parts_while_replacing
from deployments.k8s.objects import KubeObject, get, mapping, of_kind
from deployments.k8s.quantities import format_memory, parse_quantity
from deployments.k8s.ray_clusters import RayCluster, first_container
from deployments.settings import Settings
from deployments.settings.stages import DRIVER_CPUS
from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Sizing:
    """By group: what a pod offers, how many always run, how many may come."""

    sizes: Mapping[str, PodSize]
    least: Mapping[str, int]
    most: Mapping[str, int]
    notes: tuple[str, ...]


def size_workers(
    settings: Settings, cluster: RayCluster, worker_cpus: int | None = None, kept: Collection[str] = ()
) -> Sizing:
    """The overlay's workers where they suffice, and as many of them as all replicas need; larger ones where a replica
    or stage fits none. Of the groups in `kept` no fewer always run than in the overlay. Raises ConfigError where
    no group has the GPUs, or `worker_cpus` are too few."""
    sizes = pod_sizes(cluster)
    if not sizes:
        raise ConfigError("The overlay has no worker groups.", param="overlay")
    before = {size.group: size for size in sizes}
    if worker_cpus is not None:
        sizes = [replace(size, cpus=float(worker_cpus)) for size in sizes]
    always, all_ = parts(settings, most=False), parts(settings, most=True)
    for part in all_:
        if pack([part if worker_cpus is not None else _with_room(part)], sizes).left:
            sizes = _enlarged(part, sizes, worker_cpus)
    limits = _limits(cluster, sizes)
    least, most = dict(pack(always, sizes, limits).pods), dict(pack(all_, sizes, limits).pods)
    replacing = [pack(wanted, sizes, limits).pods for wanted in parts_while_replacing(settings)]
    # One front door is on the head; there is one on a node.
    missing = settings.http.front_doors - 1 - sum(least.values())
    if missing > 0:
        least[sizes[0].group] += missing
    needed = dict(least)
    for _, group in cluster.workers():
        name = str(group.get("groupName"))
        if name in kept:
            least[name] = max(least[name], int(group.get("minReplicas") or 0))
        most[name] = max(most[name], least[name], *(pods[name] for pods in replacing))
        if not cluster.autoscales:
            least[name] = most[name]  # nothing adds any
        if not most[name]:  # not needed, and left as it is
            most[name] = max(1, int(group.get("maxReplicas") or 1))
    notes = [
        f"Worker group {name}: {needed[name]} would do, and as in the overlay {least[name]} always run, for a "
        "disruption budget is there to keep some."
        for name in kept
        if cluster.autoscales and needed[name] < least[name]
    ]
    notes += [_grown(before[size.group], size) for size in sizes if size.cpus > before[size.group].cpus]
    notes += [
        f"Worker group {size.group}: {size.cpus:g} cores each, {least[size.group]} always, {most[size.group]} at most."
        for size in sizes
    ]
    return Sizing({size.group: size for size in sizes}, least, most, tuple(notes))


def _limits(cluster: RayCluster, sizes: list[PodSize]) -> dict[str, int]:
    """Where several groups could take the same, each but the last gets no more pods than the overlay allows it: there
    may be no more nodes of that type."""
    last = {size.gpus > 0: size.group for size in sizes}
    allowed = {str(group.get("groupName")): group.get("maxReplicas") for _, group in cluster.workers()}
    earlier = {size.group for size in sizes} - set(last.values())
    return {name: int(most) for name, most in allowed.items() if name in earlier and most is not None}


def _enlarged(part: Part, sizes: list[PodSize], worker_cpus: int | None) -> list[PodSize]:
    """With the groups made large enough that have the GPUs, and no more of them than have to."""
    if worker_cpus is not None:
        raise ConfigError(
            f"{part.name} takes {part.cpus:g} cores, and workers would have {worker_cpus}.", param="worker-cpus"
        )
    able = [size for size in sizes if size.gpus >= part.gpus]
    if not able:
        raise ConfigError(
            f"{part.name} needs {part.gpus:g} GPUs on one worker, and none of the overlay has them: take an overlay "
            "with GPUs.",
            param="overlay",
        )
    cores = float(math.ceil(_with_room(part).cpus))
    with_gpus = min(size.gpus for size in able) > 0
    return [replace(size, cpus=cores) if size in able and (size.gpus > 0) == with_gpus else size for size in sizes]


def _with_room(part: Part) -> Part:
    """A stage, with what feeds it beside it."""
    return replace(part, cpus=part.cpus + DRIVER_CPUS) if part.staged else part


def _grown(before: PodSize, after: PodSize) -> str:
    return (
        f"Worker group {after.group}: {before.cpus:g} cores are too few for one replica or stage, so its pods get "
        f"{after.cpus:g}, and memory in proportion. Their nodes need as much."
    )


def group_operations(cluster: RayCluster, sizing: Sizing) -> list[dict[str, Any]]:
    """JSON patches for the worker groups, each preceded by a test that the overlay still has them in this order."""
    operations: list[dict[str, Any]] = []
    root = f"/{cluster.path.replace('.', '/')}/workerGroupSpecs"
    for index, (_, group) in enumerate(cluster.workers()):
        name, at = str(group.get("groupName")), f"{root}/{index}"
        operations.append({"op": "test", "path": f"{at}/groupName", "value": name})
        counts = {"replicas": sizing.least, "minReplicas": sizing.least, "maxReplicas": sizing.most}
        operations += [_set(f"{at}/{key}", by_group[name]) for key, by_group in counts.items()]
        operations += _resources(group, at, sizing.sizes[name])
    return operations


def _resources(group: Mapping[str, Any], at: str, size: PodSize) -> list[dict[str, Any]]:
    """Cores wherever the group says them; memory grows with them, and does not shrink."""
    cores, found = f"{size.cpus:g}", []
    if get(group, "rayStartParams.num-cpus") is not None:
        found.append(_set(f"{at}/rayStartParams/num-cpus", cores))
    if get(group, "resources.CPU") is not None:
        found.append(_set(f"{at}/resources/CPU", cores))
    container = first_container(group)
    for kind in ("requests", "limits"):
        path = f"{at}/template/spec/containers/0/resources/{kind}"
        said = mapping(container, f"resources.{kind}")
        before, memory = parse_quantity(said.get("cpu")), parse_quantity(said.get("memory"))
        if before is None or before == size.cpus:
            continue
        found.append(_set(f"{path}/cpu", cores))
        if memory is not None and size.cpus > before:
            found.append(_set(f"{path}/memory", format_memory(memory * size.cpus / before)))
    return found


def kept_groups(objects: Sequence[KubeObject], cluster: RayCluster) -> list[str]:
    """The worker groups of which a disruption budget keeps pods, so that the overlay wants several."""
    keeping = [
        one for one in of_kind(objects, "PodDisruptionBudget") if get(one.data, "spec.minAvailable") not in (None, 0)
    ]
    groups = {group for one in keeping for group in _budgeted_groups(one, objects, cluster)}
    return [name for _, group in cluster.workers() if (name := str(group.get("groupName"))) in groups]


def _budgeted_groups(budget: KubeObject, objects: Sequence[KubeObject], cluster: RayCluster) -> set[str]:
    return {pod.group for pod in budgeted(budget, objects) if pod.owner is cluster.owner and pod.role == "worker"}


def budget_operations(
    budget: KubeObject, objects: Sequence[KubeObject], cluster: RayCluster, sizing: Sizing
) -> list[dict[str, Any]]:
    """One worker less than always run, for a disruption budget of workers that says how many have to stay."""
    if not isinstance(get(budget.data, "spec.minAvailable"), int):
        return []
    groups = _budgeted_groups(budget, objects, cluster)
    if not groups:
        return []
    return [_set("/spec/minAvailable", max(0, sum(sizing.least[group] for group in groups) - 1))]


def _set(path: str, value: Any) -> dict[str, Any]:
    """`add` also replaces what is there."""
    return {"op": "add", "path": path, "value": value}
