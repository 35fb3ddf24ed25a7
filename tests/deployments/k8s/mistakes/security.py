"""Against the security rules."""

from __future__ import annotations

from tests.deployments.k8s.good import container, head, named, pod, worker
from tests.deployments.k8s.mistakes.planted import Planted, autoscaler_token, both, cluster_of, recovers

SECURITY = [
    Planted(
        "non-root",
        "may run as root",
        lambda d: pod(named(d, "Job")).setdefault("securityContext", {}).pop("runAsNonRoot"),
    ),
    Planted("non-root", "number", lambda d: container(named(d, "Job"))["securityContext"].update(runAsUser=0)),
    Planted(
        "read-only-root", "say true", lambda d: container(worker(d))["securityContext"].pop("readOnlyRootFilesystem")
    ),
    Planted(
        "privilege-escalation",
        "say false",
        lambda d: cluster_of(d)["autoscalerOptions"]["securityContext"].pop("allowPrivilegeEscalation"),
    ),
    Planted(
        "privilege-escalation",
        "root of the node",
        lambda d: container(head(d))["securityContext"].update(privileged=True),
    ),
    Planted("capabilities", "drop ALL", lambda d: container(head(d))["securityContext"].pop("capabilities")),
    Planted(
        "capabilities",
        "SYS_PTRACE",
        lambda d: container(head(d))["securityContext"]["capabilities"].update(add=["SYS_PTRACE"]),
    ),
    Planted("seccomp", "RuntimeDefault", lambda d: pod(head(d))["securityContext"].pop("seccompProfile")),
    Planted("resources", "has to be said", lambda d: container(named(d, "Job"))["resources"]["limits"].pop("memory")),
    Planted(
        "resources", "no quantity", lambda d: container(named(d, "Job"))["resources"]["limits"].update(memory="1Gib")
    ),
    Planted(
        "resources",
        "more than the limit",
        lambda d: container(named(d, "Job"))["resources"]["requests"].update(memory="2Gi"),
    ),
    Planted("host-access", "node's", lambda d: pod(worker(d)).update(hostNetwork=True)),
    Planted("host-access", "node's own", lambda d: pod(worker(d))["volumes"][0].update(hostPath={"path": "/data"})),
    Planted("host-access", "node's port", lambda d: container(worker(d))["ports"][0].update(hostPort=8000)),
    Planted(
        "image-version",
        "names no version",
        lambda d: container(head(d)).update(image="registry.example:5000/stageline"),
    ),
    Planted("image-version", "names no version", lambda d: container(head(d)).update(image="stageline:latest")),
    Planted("service-account-token", "no token", lambda d: pod(worker(d)).update(automountServiceAccountToken=True)),
    Planted(
        "service-account-token", "no token", lambda d: named(d, "ServiceAccount").pop("automountServiceAccountToken")
    ),
    Planted(
        "service-account-token",
        "a token of its own",
        both(autoscaler_token, lambda d: pod(head(d)).update(automountServiceAccountToken=True)),
    ),
    Planted(
        "secret-values",
        "do not belong",
        lambda d: d.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}),
    ),
    Planted(
        "secret-values",
        "looks like a secret",
        lambda d: container(named(d, "Job")).update(env=[{"name": "HF_TOKEN", "value": "x"}]),
    ),
    Planted("secret-values", "secretKeyRef", recovers(redisPassword={"value": "x"})),
]
