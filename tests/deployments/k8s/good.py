"""Objects with which nothing is wrong, and facts that they agree with. Tests change one thing at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from deployments.k8s.check import Finding, check
from deployments.k8s.dockerfiles import Image
from deployments.k8s.facts import Facts
from deployments.k8s.objects import KubeObject

Document = dict[str, Any]

FACTS = Facts(
    switches={"RAY_SERVE_ENABLE_HA_PROXY": "1"},
    port=8000,
    routes=frozenset({"/ready", "/metrics"}),
    metrics=frozenset({"vllm:num_requests_running", "vllm:request_success_total"}),
    ray_version="2.60.0",
    our_variables=frozenset({"STAGELINE_CACHE"}),
    images=(Image("cpu", "10001:10001", (8000,), {}),),
    importable=lambda path: path == "deployments.kuberay:application",
    in_package=lambda path: path == "demo/variant",
    ray_reads=lambda name: name in {"RAY_SERVE_ENABLE_HA_PROXY", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"},
    ray_measures=lambda name: name == "ray_node_cpu_utilization",
)
LOCKED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
LABELS = {"app.kubernetes.io/name": "stageline"}
PORTS = [{"name": "serve", "containerPort": 8000}, {"name": "metrics", "containerPort": 8080}]


def resources(cpu: str, memory: str) -> Document:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


def args() -> Document:
    """What is served: at least 2 cores on one worker, at most 4 on two."""
    variant = {"precision": "int8-dynamic", "prepared": "demo/variant", "cores": 2, "replicas": {"min": 1, "max": 2}}
    model = {"name": "small", "source": "pypi:small==1.0/model.gguf", "variants": [variant]}
    return {"access": {"keys": "/models/keys.yaml"}, "models": [model]}


def serve_config(arguments: Any = None) -> Document:
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": 8000},
        "applications": [
            {
                "name": "stageline",
                "route_prefix": "/",
                "import_path": "deployments.kuberay:application",
                "args": args() if arguments is None else arguments,
            }
        ],
    }


def ray_pod(component: str, cpu: str, drains_s: int) -> Document:
    container = {
        "name": "ray",
        "image": "stageline:0.1.0",
        "ports": copy.deepcopy(PORTS),
        "env": [
            {"name": "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "value": str(drains_s)},
            {"name": "RAY_SERVE_ENABLE_HA_PROXY", "value": "1"},
            {"name": "STAGELINE_CACHE", "value": "/var/cache/stageline"},
        ],
        "resources": resources(cpu, "4Gi"),
        "securityContext": copy.deepcopy(LOCKED),
        "livenessProbe": {"httpGet": {"path": "/api/local_raylet_healthz", "port": 52365}},
        "readinessProbe": {"httpGet": {"path": "/-/healthz", "port": "serve"}},
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    return {
        "metadata": {"labels": {**LABELS, "app.kubernetes.io/component": component}},
        "spec": {
            "serviceAccountName": "stageline",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": drains_s + 60,
            "securityContext": copy.deepcopy(RESTRICTED),
            "containers": [container],
            "volumes": [{"name": "models", "emptyDir": {}}],
        },
    }


def cluster() -> Document:
    return {
        "rayVersion": "2.60.0",
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "resources": resources("500m", "512Mi"),
            "securityContext": copy.deepcopy(LOCKED),
        },
        "authOptions": {"mode": "token", "secretName": "stageline-ray-token"},
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": ray_pod("head", "1", 30)},
        "workerGroupSpecs": [
            {
                "groupName": "cpu",
                "replicas": 1,
                "minReplicas": 1,
                "maxReplicas": 2,
                "rayStartParams": {"num-cpus": "2"},
                "template": ray_pod("worker", "2", 600),
            }
        ],
    }


def ray_service() -> Document:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "stageline"},
        "spec": {
            "serveConfigV2": yaml.safe_dump(serve_config()),
            "upgradeStrategy": {"type": "NewCluster"},
            "serveService": {"spec": {"ports": [{"name": "serve", "port": 8000}]}},
            "rayClusterConfig": cluster(),
        },
    }


def ray_job() -> Document:
    spec = cluster()
    del spec["authOptions"]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "once"},
        "spec": {"entrypoint": "python x.py", "shutdownAfterJobFinishes": True, "rayClusterSpec": spec},
    }


def ray_cluster() -> Document:
    spec = cluster()
    spec["authOptions"] = {"mode": "token", "enableK8sTokenAuth": True}
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "alone"}, "spec": spec}


def job() -> Document:
    container = {
        "name": "fetch",
        "image": "stageline:0.1.0",
        "resources": resources("1", "1Gi"),
        "securityContext": copy.deepcopy(LOCKED),
        "ports": [{"name": "http", "containerPort": 9000}],
    }
    spec = {
        "serviceAccountName": "stageline",
        "restartPolicy": "Never",
        "securityContext": copy.deepcopy(RESTRICTED),
        "containers": [container],
    }
    template = {"metadata": {"labels": {"app.kubernetes.io/name": "fetch"}}, "spec": spec}
    return _object("batch/v1", "Job", "fetch", {"template": template})


def others() -> list[Document]:
    """Around the service: an account, a budget, a policy, a Service, monitoring."""
    workers = {"matchLabels": {**LABELS, "app.kubernetes.io/component": "worker"}}
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "stageline"},
        "automountServiceAccountToken": False,
    }
    fetching = {"app.kubernetes.io/name": "fetch"}
    expression = 'sum by (engine) (rate(vllm:request_success_total{finished_reason="stop"}[5m])) / 2'
    rule = {"record": "stageline:answers:rate5m", "expr": expression}
    alert = {"alert": "Silent", "expr": "stageline:answers:rate5m == 0", "for": "5m"}
    dashboard = {
        "title": "Service",
        "panels": [
            {"title": "Load", "targets": [{"expr": "max(vllm:num_requests_running) + ray_node_cpu_utilization"}]}
        ],
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "dashboards", "labels": {"grafana_dashboard": "1"}},
        "data": {"service.json": json.dumps(dashboard)},
    }
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    return [
        account,
        _object("policy/v1", "PodDisruptionBudget", "workers", {"minAvailable": 0, "selector": workers}),
        _object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "front-door",
            {
                "podSelector": {"matchLabels": LABELS},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"protocol": "TCP", "port": 8000}]}],
            },
        ),
        _object("v1", "Service", "fetch", {"selector": fetching, "ports": [{"port": 80, "targetPort": "http"}]}),
        _object(
            "monitoring.coreos.com/v1",
            "PodMonitor",
            "stageline",
            {
                "selector": {"matchLabels": LABELS},
                "podMetricsEndpoints": [{"port": "serve", "path": "/metrics", "interval": "15s"}, {"port": "metrics"}],
            },
        ),
        _object(
            "monitoring.coreos.com/v1",
            "PrometheusRule",
            "stageline",
            {"groups": [{"name": "a", "rules": [rule, alert]}]},
        ),
        config,
        _object(
            "gateway.networking.k8s.io/v1", "Gateway", "front", {"gatewayClassName": "istio", "listeners": [listener]}
        ),
    ]


def good() -> list[Document]:
    """All of them, fresh."""
    return [ray_service(), ray_job(), ray_cluster(), job(), *others()]


def _object(api_version: str, kind: str, name: str, spec: Document) -> Document:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def findings(documents: Sequence[Mapping[str, Any]], facts: Facts = FACTS) -> list[Finding]:
    """What all rules but KubeRay's schemas say."""
    return check([KubeObject(document) for document in documents], facts)


def service_of(documents: Sequence[Document]) -> Any:
    """The spec of the RayService."""
    return documents[0]["spec"]


def head(documents: Sequence[Document]) -> Any:
    return service_of(documents)["rayClusterConfig"]["headGroupSpec"]


def worker(documents: Sequence[Document]) -> Any:
    return service_of(documents)["rayClusterConfig"]["workerGroupSpecs"][0]


def pod(group: Any) -> Any:
    return group["template"]["spec"]


def container(group: Any) -> Any:
    return pod(group)["containers"][0]


def named(documents: Sequence[Document], kind: str) -> Any:
    """The spec of the object of that kind, or the object where it has none."""
    found = next(document for document in documents if document["kind"] == kind)
    return found.get("spec", found)


def served(documents: Sequence[Document], config: Any) -> None:
    """Put another configuration into the RayService."""
    service_of(documents)["serveConfigV2"] = yaml.safe_dump(config)
