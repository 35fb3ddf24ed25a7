"""What a pod gets from its node, from the API server, and in its image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from deployments.k8s.objects import Fault, KubeObject, get, mappings, of_kind
from deployments.k8s.pods import Pod, pods_of
from deployments.k8s.ray_clusters import RayCluster, ray_clusters
from deployments.k8s.security.containers import places

_TELLING = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY|CREDENTIALS?)$", re.IGNORECASE)
_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def host_access(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Nothing of the node's: network, processes, files, ports."""
    for pod in pods_of(objects):
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(key):
                yield Fault(pod.owner, f"{pod.path}.{key}", "pods here need nothing of the node's: leave it out")
        for path, volume in mappings(pod.spec, "volumes"):
            if "hostPath" in volume:
                yield Fault(
                    pod.owner, f"{pod.path}.{path}.hostPath", "use an emptyDir or a claim: this is the node's own"
                )
        for path, container in pod.containers():
            for at, port in mappings(container, "ports"):
                if port.get("hostPort"):
                    yield Fault(pod.owner, f"{path}.{at}.hostPort", "use a Service: this takes the node's port")


def image_version(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """A tag that names a version, or a digest: `latest` is another image tomorrow."""
    for one, path, container, _ in places(objects):
        image = container.get("image")
        if image is None and path.endswith("autoscalerOptions"):
            continue  # the head's own, where nothing is said
        yield from _image(one, f"{path}.image", str(image or ""))
    for one, path, reference in _volume_images(objects):
        yield from _image(one, path, reference)


def image_digest(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Images by digest: what was tested is what runs, whoever moves a tag. (On request, for images of your own.)"""
    images = [(one, f"{path}.image", str(container.get("image") or "")) for one, path, container, _ in places(objects)]
    for one, path, image in (*images, *_volume_images(objects)):
        if image and "@sha256:" not in image:
            yield Fault(one, path, f"{image} is a tag, which may move: name the digest (name@sha256:...)")


def _volume_images(objects: Sequence[KubeObject]) -> Iterator[tuple[KubeObject, str, str]]:
    """Images that are mounted instead of run: (owner, path, reference)."""
    for pod in pods_of(objects):
        for path, volume in mappings(pod.spec, "volumes"):
            reference = get(volume, "image.reference")
            if reference is not None:
                yield pod.owner, f"{pod.path}.{path}.image.reference", str(reference)


def _image(one: KubeObject, path: str, image: str) -> Iterator[Fault]:
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not digest and tag in ("", "latest"):
        yield Fault(
            one, path, f"{image or 'nothing'} names no version: give a tag, or better a digest (name@sha256:...)"
        )


def service_account_token(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Only Ray's autoscaler speaks to the API server; it is in the head's pod. Where it mounts a token of its own, the
    containers beside it get none."""
    accounts = {one.name: one.data.get("automountServiceAccountToken") for one in of_kind(objects, "ServiceAccount")}
    scaled = {id(cluster.owner): cluster for cluster in ray_clusters(objects) if cluster.autoscales}
    for pod in pods_of(objects):
        cluster = scaled.get(id(pod.owner)) if pod.role == "head" else None
        if not _mounts_token(pod, accounts) or (cluster is not None and not _own_token(cluster)):
            continue
        why = "it needs no token" if cluster is None else "the autoscaler mounts a token of its own"
        yield Fault(pod.owner, f"{pod.path}.automountServiceAccountToken", f"{why}: say false")


def _own_token(cluster: RayCluster) -> bool:
    """Whether the autoscaler's container mounts one where programs look for it."""
    mounts = mappings(cluster.spec, "autoscalerOptions.volumeMounts")
    return any(mount.get("mountPath") == _TOKEN_PATH for _, mount in mounts)


def _mounts_token(pod: Pod, accounts: dict[str, object]) -> bool:
    """The pod's own word counts before its account's."""
    said = pod.spec.get("automountServiceAccountToken")
    if said is None:
        said = accounts.get(str(pod.spec.get("serviceAccountName", "default")))
    return said is not False


def secret_values(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Secrets are made in the cluster, not in files that lie in a repository."""
    for one in of_kind(objects, "Secret"):
        for key in ("data", "stringData"):
            if any((one.data.get(key) or {}).values()):
                yield Fault(one, key, "a Secret's values do not belong into manifests: make it in the cluster")
    for one, path, container, _ in places(objects):
        for at, variable in mappings(container, "env"):
            if variable.get("value") and _TELLING.search(str(variable.get("name"))):
                yield Fault(
                    one, f"{path}.{at}.value", f"{variable['name']} looks like a secret: use valueFrom.secretKeyRef"
                )
    for cluster in ray_clusters(objects):
        if get(cluster.spec, "gcsFaultToleranceOptions.redisPassword.value"):
            path = f"{cluster.path}.gcsFaultToleranceOptions.redisPassword.value"
            yield Fault(cluster.owner, path, "use valueFrom.secretKeyRef")
