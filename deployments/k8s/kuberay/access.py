"""Who gets in: token authentication, TLS, KubeRay's own network policies; and what needs a feature gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployments.k8s.kuberay.versions import at_least
from deployments.k8s.objects import Fault, KubeObject, get, mappings
from deployments.k8s.ray_clusters import environment, first_container, ray_clusters

_TOKENS = "2.52.0"
_K8S_TOKENS = "2.55.0"
_TLS = ("RAY_USE_TLS", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
# Fields that KubeRay's operator refuses unless a feature gate, off by default, is turned on.
_GATES = {
    "networkPolicy": "RayClusterNetworkPolicy",
    "tlsOptions": "RayClusterMTLS",
    "historyServerOptions": "RayClusterHistoryServer",
}
ALLOWED = "stageline.dev/feature-gates"


def authentication(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """`authOptions`: tokens of Ray's own, or of Kubernetes for a RayCluster that stands alone."""
    for cluster in ray_clusters(objects):
        path = f"{cluster.path}.authOptions"
        options = cluster.spec.get("authOptions") or {}
        tokens = options.get("mode") == "token"
        of_kubernetes = options.get("enableK8sTokenAuth") is True
        if tokens and not at_least(cluster.spec.get("rayVersion"), _TOKENS):
            yield Fault(cluster.owner, f"{path}.mode", f"tokens need rayVersion {_TOKENS} or newer to be said")
        elif of_kubernetes and cluster.owner.kind != "RayCluster":
            yield Fault(
                cluster.owner,
                f"{path}.enableK8sTokenAuth",
                f"KubeRay refuses this for a {cluster.owner.kind}: leave it out",
            )
        elif of_kubernetes and not tokens:
            yield Fault(cluster.owner, f"{path}.enableK8sTokenAuth", "this needs mode: token")
        elif of_kubernetes and not at_least(cluster.spec.get("rayVersion"), _K8S_TOKENS):
            yield Fault(cluster.owner, f"{path}.enableK8sTokenAuth", f"this needs rayVersion {_K8S_TOKENS} or newer")
        elif of_kubernetes and options.get("secretName"):
            yield Fault(cluster.owner, f"{path}.secretName", "with enableK8sTokenAuth there is no Secret: leave it out")


def feature_gates(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """What KubeRay's operator has to be started with. Who has it says so in the annotation
    `stageline.dev/feature-gates` (names, with commas between)."""
    for cluster in ray_clusters(objects):
        allowed = {name.strip() for name in str(cluster.annotations.get(ALLOWED, "")).split(",")}
        needed = {
            f"{cluster.path}.{field}": gate for field, gate in _GATES.items() if cluster.spec.get(field) is not None
        }
        if get(cluster.spec, "gcsFaultToleranceOptions.backend") == "rocksdb":
            needed[f"{cluster.path}.gcsFaultToleranceOptions.backend"] = "GCSFaultToleranceEmbeddedStorage"
        for path, gate in needed.items():
            if gate not in allowed:
                yield Fault(
                    cluster.owner,
                    path,
                    f"KubeRay refuses this unless its feature gate {gate} is on, which is alpha: name it in the "
                    f"annotation {ALLOWED} if it is",
                )


def tls(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """With `tlsOptions` the operator makes certificates, mounts them and says where they are."""
    for cluster in ray_clusters(objects):
        options = cluster.spec.get("tlsOptions")
        if options is None or options.get("enabled") is False:
            continue
        where = [(f"{path}.template.spec.containers[0]", first_container(group)) for path, group, _ in cluster.groups()]
        where.append((f"{cluster.path}.autoscalerOptions", cluster.spec.get("autoscalerOptions") or {}))
        for path, container in where:
            for name in _TLS:
                if name in environment(container):
                    yield Fault(cluster.owner, f"{path}.env", f"{name} is set from tlsOptions: leave it out")


def network_policy(objects: Sequence[KubeObject]) -> Iterator[Fault]:
    """Rules for a direction that the mode leaves open, or for a group that is not there."""
    for cluster in ray_clusters(objects):
        policy = cluster.spec.get("networkPolicy")
        if policy is None:
            continue
        path = f"{cluster.path}.networkPolicy"
        open_ = {"DenyAllEgress": "ingressRules", "DenyAllIngress": "egressRules"}.get(policy.get("mode", "DenyAll"))
        names = {group.get("groupName") for _, group in cluster.workers()}
        parts = [(f"{path}.{key}", policy.get(key) or {}) for key in ("head", "worker")]
        groups = [(f"{path}.{at}", group) for at, group in mappings(policy, "workerGroups")]
        for at, part in [*parts, *groups]:
            if open_ is not None and part.get(open_):
                yield Fault(cluster.owner, f"{at}.{open_}", f"mode {policy['mode']} leaves that direction open")
        for at, group in groups:
            if group.get("groupName") not in names:
                yield Fault(cluster.owner, f"{at}.groupName", f"there is no worker group {group.get('groupName')}")
