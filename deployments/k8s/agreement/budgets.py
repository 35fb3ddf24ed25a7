"""Disruption budgets: some pod may always go, or no node is ever drained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployments.k8s.labels import matches
from deployments.k8s.objects import Fault, KubeObject, get, mapping, of_kind
from deployments.k8s.pods import Pod, pods_of
from deployments.k8s.ray_clusters import ray_clusters


def disruption_budgets(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Of Ray's pods fewer have to stay than always run; as a number, for KubeRay's resources tell Kubernetes no
    scale."""
    always = {
        (id(cluster.owner), str(group.get("groupName"))): int(group.get("minReplicas") or 0)
        for cluster in ray_clusters(objects)
        for _, group in cluster.workers()
    }
    for one in of_kind(objects, "PodDisruptionBudget"):
        pods = [pod for pod in budgeted(one, objects) if pod.is_ray]
        if not pods:
            continue
        least = get(one.data, "spec.minAvailable")
        running = sum(always.get((id(pod.owner), pod.group), 1) for pod in pods)
        if get(one.data, "spec.maxUnavailable") is not None or isinstance(least, str):
            yield Fault(one, "spec", "of Ray's pods Kubernetes takes minAvailable only, as a whole number")
        elif isinstance(least, int) and least >= running:
            yield Fault(
                one,
                "spec.minAvailable",
                f"{least} have to stay and {running} always run: no node of theirs could be drained",
            )


def budgeted(budget: KubeObject, objects: Sequence[KubeObject]) -> list[Pod]:
    """The pods that a budget is for."""
    selector = mapping(budget.data, "spec.selector")
    return [pod for pod in pods_of(objects) if matches(selector, pod.labels)]
