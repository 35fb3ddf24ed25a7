"""The table of all rules that need nothing but the objects and the facts of this project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from deployments.k8s.agreement import budgets, endpoints, images, queries, references, serving, variables, workers
from deployments.k8s.facts import Facts
from deployments.k8s.kuberay import access, autoscaling, groups, jobs, names, recovery, services
from deployments.k8s.objects import Fault, KubeObject
from deployments.k8s.schemas.neighbours import neighbour_schema
from deployments.k8s.security import containers, pods, resources

Objects = Sequence[KubeObject]

# Of objects alone.
ALONE: Mapping[str, Callable[[Objects], Iterable[Fault]]] = {
    "neighbour-schema": neighbour_schema,
    "kuberay-name": names.names,
    "kuberay-container": groups.containers,
    "kuberay-resources": groups.resources_once,
    "kuberay-labels": groups.labels,
    "kuberay-replicas": groups.replicas,
    "kuberay-autoscaler": autoscaling.autoscaler_options,
    "kuberay-autoscaled-group": autoscaling.autoscaled_groups,
    "kuberay-restart-policy": autoscaling.restart_policy,
    "kuberay-fault-tolerance": recovery.fault_tolerance,
    "kuberay-auth": access.authentication,
    "kuberay-feature-gate": access.feature_gates,
    "kuberay-tls": access.tls,
    "kuberay-network-policy": access.network_policy,
    "kuberay-upgrade": services.upgrades,
    "kuberay-timeout": services.initializing_timeout,
    "kuberay-serve-config": services.serve_text,
    "kuberay-job": jobs.jobs,
    "non-root": containers.non_root,
    "read-only-root": containers.read_only_root,
    "privilege-escalation": containers.no_escalation,
    "capabilities": containers.no_capabilities,
    "seccomp": containers.seccomp,
    "resources": resources.resources,
    "host-access": pods.host_access,
    "image-version": pods.image_version,
    "service-account-token": pods.service_account_token,
    "secret-values": pods.secret_values,
    "serve-schema": serving.serve_schema,
    "stageline-args": serving.stageline_args,
    "front-doors": serving.front_doors,
    "head-without-work": workers.head_without_work,
    "ray-cpus": workers.ray_cpus,
    "capacity": workers.capacity,
    "disruption-budgets": budgets.disruption_budgets,
    "container-ports": endpoints.container_ports,
    "selectors": endpoints.selectors,
    "drain-timeout": variables.draining,
    "scalers": references.scalers,
    "dashboards": queries.dashboards_read,
}

# Of objects and of what they have to agree with.
AGREEING: Mapping[str, Callable[[Objects, Facts], Iterable[Fault]]] = {
    "import-path": serving.import_path,
    "model-paths": serving.model_paths,
    "http-options": serving.http_options,
    "probes": endpoints.probes,
    "services": endpoints.services,
    "network-ports": endpoints.network_ports,
    "monitored-ports": endpoints.monitored_ports,
    "serve-switches": variables.switches,
    "known-variables": variables.known_variables,
    "references": references.references,
    "image-user": images.image_user,
    "image-ports": images.image_ports,
    "ray-version": images.ray_version,
    "known-metrics": queries.known_metrics,
}
OTHERS: Mapping[str, str] = {
    "core-schema": "Objects of Kubernetes' own kinds against its schemas; unknown fields are errors.",
    "pod-schema": "The pods inside of KubeRay's resources against the same.",
    "metadata-schema": "Names, labels and annotations of custom resources against the same.",
    "kuberay-schema": "KubeRay's resources against its definitions (KUBERAY_CRDS).",
    "chart-and-overlay": "The project's chart makes its overlays' objects, with the values named like them.",
    "image-digest": "With --require-digest: images by digest, not by tag.",
}


def described() -> dict[str, str]:
    """What each rule wants, in a line, by its name."""
    functions = {**ALONE, **AGREEING}
    return {**OTHERS, **{name: _first_line(function.__doc__) for name, function in functions.items()}}


def _first_line(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
