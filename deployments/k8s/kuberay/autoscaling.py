"""Ray's autoscaler inside of a cluster: what it does not bear beside it, and what only its version 2 can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from deployments.k8s.kuberay.versions import at_least
from deployments.k8s.objects import Fault, KubeObject, get
from deployments.k8s.ray_clusters import RayCluster, environment, first_container, ray_clusters

_SWITCH = "RAY_enable_autoscaler_v2"
_START = "KUBERAY_GEN_AUTOSCALER_START_CMD"
_PRIORITIES = "2.56.0"  # Ray knows a group's priority from then on


def autoscaler_options(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Options that do nothing, that two places decide, or that this autoscaler does not know."""
    for cluster in ray_clusters(objects):
        owner, path = cluster.owner, f"{cluster.path}.autoscalerOptions"
        options = cluster.spec.get("autoscalerOptions") or {}
        if options and not cluster.autoscales:
            yield Fault(owner, path, "these do nothing: enableInTreeAutoscaling is not true")
        if _negative(options.get("idleTimeoutSeconds")):
            yield Fault(owner, f"{path}.idleTimeoutSeconds", "it cannot be negative")
        if _START in environment(options):
            yield Fault(owner, f"{path}.env", f"{_START} is KubeRay's own")
        switch = environment(first_container(cluster.head)).get(_SWITCH)
        head = f"{cluster.head_path}.template.spec.containers[0].env"
        if switch is not None and cluster.autoscales and get(options, "version"):
            yield Fault(owner, head, f"{_SWITCH} and autoscalerOptions.version both choose one: keep the latter")
        if switch is not None and not cluster.autoscales and switch.get("value") in ("1", "true"):
            yield Fault(owner, head, f"{_SWITCH} needs enableInTreeAutoscaling: true")


def autoscaled_groups(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Groups that are to be scaled by what this autoscaler can."""
    for cluster in ray_clusters(objects):
        for path, group in cluster.workers():
            if group.get("suspend") is True and cluster.autoscales:
                yield Fault(cluster.owner, f"{path}.suspend", "a group cannot be suspended while the autoscaler runs")
            if _negative(group.get("idleTimeoutSeconds")):
                yield Fault(cluster.owner, f"{path}.idleTimeoutSeconds", "it cannot be negative")
            for key in ("idleTimeoutSeconds", "priority"):
                if group.get(key) and not _is_v2(cluster):
                    yield Fault(cluster.owner, f"{path}.{key}", "this needs autoscalerOptions.version: v2")
            if group.get("priority") and not at_least(cluster.spec.get("rayVersion"), _PRIORITIES):
                yield Fault(cluster.owner, f"{path}.priority", f"this needs rayVersion {_PRIORITIES} or newer")


def restart_policy(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Version 2 replaces pods by itself; one that restarts would come back under a name that is done with."""
    for cluster in ray_clusters(objects):
        if not (cluster.autoscales and _is_v2(cluster)):
            continue
        for path, group, _ in cluster.groups():
            policy = get(group, "template.spec.restartPolicy", "Never")
            if policy != "Never":
                at = f"{path}.template.spec.restartPolicy"
                yield Fault(cluster.owner, at, f"{policy} does not go with autoscaler v2: leave it out, or write Never")


def _is_v2(cluster: RayCluster) -> bool:
    switch = environment(first_container(cluster.head)).get(_SWITCH, {})
    return cluster.autoscaler_v2 or switch.get("value") in ("1", "true")


def _negative(value: Any) -> bool:
    return isinstance(value, int) and value < 0
