"""Images: what a Dockerfile of this project says, and what is said of the containers that run it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployments.k8s.facts import Facts
from deployments.k8s.kuberay.versions import version
from deployments.k8s.objects import Fault, KubeObject, get, mapping
from deployments.k8s.pods import ray_pods
from deployments.k8s.ray_clusters import ray_clusters


def image_user(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """Ray's containers run as the images' own user, to whom the files in them belong."""
    users = {image.user for image in facts.images}
    for pod in ray_pods(objects):
        context = {**mapping(pod.spec, "securityContext"), **mapping(pod.ray_container, "securityContext")}
        user = f"{context.get('runAsUser')}:{context.get('runAsGroup')}"
        if users and user not in users:
            path = f"{pod.path}.securityContext.runAsUser"
            yield Fault(pod.owner, path, f"{user}, and the images' user is {', '.join(sorted(users))}")


def image_ports(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """The port of the front door is one that the images expose."""
    for pod in ray_pods(objects):
        ports = [
            item.get("containerPort") for item in get(pod.ray_container, "ports", []) if item.get("name") == "serve"
        ]
        for image in facts.images:
            if image.ports and any(port not in image.ports for port in ports):
                path = f"{pod.path}.containers[0].ports"
                yield Fault(pod.owner, path, f"the image {image.name} exposes {image.ports}, not {ports[0]}")


def ray_version(objects: Sequence[KubeObject], facts: Facts) -> Iterator[Fault]:
    """`rayVersion` is the Ray that Stageline runs on; KubeRay decides by it what it may ask of a cluster."""
    for cluster in ray_clusters(objects):
        said = cluster.spec.get("rayVersion")
        if version(said) is None or version(said) != version(facts.ray_version):
            yield Fault(
                cluster.owner, f"{cluster.path}.rayVersion", f"{said}, and Stageline runs on {facts.ray_version}"
            )
