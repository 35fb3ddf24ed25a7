"""Rights of containers: Kubernetes' profile "restricted", and a root that cannot be written to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployments.k8s.objects import Fault, KubeObject, get, mapping, sequence
from deployments.k8s.pods import pods_of
from deployments.k8s.ray_clusters import ray_clusters

# The object, a container's path, the container, and what its pod says for all of its containers.
Place = tuple[KubeObject, str, Mapping[str, Any], Mapping[str, Any]]


def places(objects: Sequence[KubeObject]) -> Iterator[Place]:
    """All containers, and what is said of the one that KubeRay adds to the head for the autoscaler."""
    for pod in pods_of(objects):
        for path, container in pod.containers():
            yield pod.owner, path, container, mapping(pod.spec, "securityContext")
    for cluster in ray_clusters(objects):
        if cluster.autoscales:
            of_pod = mapping(cluster.head, "template.spec.securityContext")
            path = f"{cluster.path}.autoscalerOptions"
            yield cluster.owner, path, mapping(cluster.spec, "autoscalerOptions"), of_pod


def non_root(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """A user that is not root, by number: a name in an image cannot be checked when a pod starts."""
    for one, path, container, of_pod in places(objects):
        context = {**of_pod, **mapping(container, "securityContext")}
        user = context.get("runAsUser")
        if context.get("runAsNonRoot") is not True:
            yield Fault(one, f"{path}.securityContext.runAsNonRoot", "it may run as root: say true")
        elif not isinstance(user, int) or user == 0:
            yield Fault(one, f"{path}.securityContext.runAsUser", "a user's number, not 0, is needed")


def read_only_root(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """What is written goes to volumes."""
    for one, path, container, _ in places(objects):
        if get(container, "securityContext.readOnlyRootFilesystem") is not True:
            yield Fault(
                one, f"{path}.securityContext.readOnlyRootFilesystem", "say true, and mount volumes to write to"
            )


def no_escalation(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """No set-uid program gives it more rights; and no container is privileged."""
    for one, path, container, _ in places(objects):
        if get(container, "securityContext.allowPrivilegeEscalation") is not False:
            yield Fault(one, f"{path}.securityContext.allowPrivilegeEscalation", "say false")
        if get(container, "securityContext.privileged"):
            yield Fault(one, f"{path}.securityContext.privileged", "it would be root of the node")


def no_capabilities(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """All dropped, none added but the one that the profile "restricted" allows."""
    for one, path, container, _ in places(objects):
        at = f"{path}.securityContext.capabilities"
        if "ALL" not in sequence(container, "securityContext.capabilities.drop"):
            yield Fault(one, f"{at}.drop", "drop ALL")
        added = set(sequence(container, "securityContext.capabilities.add")) - {"NET_BIND_SERVICE"}
        if added:
            yield Fault(one, f"{at}.add", f"{', '.join(sorted(added))} is more than any container here needs")


def seccomp(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """The runtime's own filter of system calls, or a stricter one."""
    for one, path, container, of_pod in places(objects):
        profile = get({**of_pod, **mapping(container, "securityContext")}, "seccompProfile.type")
        if profile not in ("RuntimeDefault", "Localhost"):
            yield Fault(one, f"{path}.securityContext.seccompProfile", "say type: RuntimeDefault, for the pod or here")
