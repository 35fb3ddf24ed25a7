"""How a mistake is described, and changes that several have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.deployments.k8s.good import (
    Document,
    args,
    container,
    head,
    named,
    pod,
    serve_config,
    served,
    service_of,
)

Change = Callable[[list[Document]], Any]


@dataclass(frozen=True, slots=True)
class Planted:
    """`change` makes the mistake, in place; `says` is in the message."""

    rule: str
    says: str
    change: Change


def variant(change: Callable[[Any], Any]) -> Change:
    """A change of the one variant that is served."""

    def apply(documents: list[Document]) -> None:
        arguments = args()
        change(arguments["models"][0]["variants"][0])
        served(documents, serve_config(arguments))

    return apply


def config(change: Callable[[Any], Any]) -> Change:
    """A change of the whole configuration for Serve."""

    def apply(documents: list[Document]) -> None:
        whole = serve_config()
        change(whole)
        served(documents, whole)

    return apply


def cluster_of(documents: list[Document]) -> Any:
    return service_of(documents)["rayClusterConfig"]


def environment(group: Any, **variables: str) -> None:
    container(group)["env"] += [{"name": name, "value": value} for name, value in variables.items()]


def rule(documents: list[Document]) -> Any:
    return named(documents, "PrometheusRule")["groups"][0]["rules"][0]


def dashboard(documents: list[Document], expression: str) -> None:
    panels = [{"title": "Load", "targets": [{"expr": expression}]}]
    named(documents, "ConfigMap")["data"]["service.json"] = json.dumps({"title": "Service", "panels": panels})


def incremental(**options: Any) -> Change:
    good = {"gatewayClassName": "istio", "stepSizePercent": 10, "maxSurgePercent": 50, "intervalSeconds": 30}
    kept = {key: value for key, value in {**good, **options}.items() if value is not None}

    def apply(documents: list[Document]) -> None:
        service_of(documents)["upgradeStrategy"] = {
            "type": "NewClusterWithIncrementalUpgrade",
            "clusterUpgradeOptions": kept,
        }

    return apply


def front_doors(count: int) -> Change:
    return config(lambda whole: whole["applications"][0]["args"].update(http={"front_doors": count}))


def recovers(**options: Any) -> Change:
    """A head that may be lost, and so two front doors."""

    def apply(documents: list[Document]) -> None:
        front_doors(2)(documents)
        cluster_of(documents)["gcsFaultToleranceOptions"] = {"redisAddress": "redis:6379", **options}

    return apply


def gated(gate: str, **fields: Any) -> Change:
    """Fields of the cluster that a feature gate allows, which is said to be on."""

    def apply(documents: list[Document]) -> None:
        documents[0]["metadata"]["annotations"] = {"stageline.dev/feature-gates": f"Other, {gate}"}
        cluster_of(documents).update(fields)

    return apply


def autoscaler_token(documents: list[Document]) -> None:
    """A token for the autoscaler alone: that is good."""
    mount = {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
    cluster_of(documents)["autoscalerOptions"]["volumeMounts"] = [mount]
    source = {"serviceAccountToken": {"path": "token"}}
    pod(head(documents))["volumes"].append({"name": "token", "projected": {"sources": [source]}})


def both(*changes: Change) -> Change:
    def apply(documents: list[Document]) -> None:
        for change in changes:
            change(documents)

    return apply


def scaled(kind: str, field: str) -> Change:
    """A scaler of pods that are Ray's."""

    def apply(documents: list[Document]) -> None:
        target = {"apiVersion": "ray.io/v1", "kind": "RayService", "name": "stageline"}
        version = "keda.sh/v1alpha1" if kind == "ScaledObject" else "autoscaling/v2"
        spec = {field: target, "maxReplicas": 3}
        documents.append({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec})

    return apply
