"""Against schemas."""

from __future__ import annotations

from tests.deployments.k8s.good import container, head, named, pod, worker
from tests.deployments.k8s.mistakes.planted import Planted

SCHEMAS = [
    Planted("core-schema", "no field replcas", lambda d: named(d, "Job").update(replcas=1)),
    Planted("core-schema", "no PodDisruptionBudget", lambda d: d[5].update(apiVersion="policy/v1beta1")),
    Planted("core-schema", "not of type 'array'", lambda d: named(d, "NetworkPolicy").update(policyTypes="Ingress")),
    Planted("pod-schema", "no field imagePullPolcy", lambda d: container(worker(d)).update(imagePullPolcy="Always")),
    Planted("pod-schema", "no field nodeSelectr", lambda d: pod(head(d)).update(nodeSelectr={})),
    Planted("metadata-schema", "no field label", lambda d: d[0]["metadata"].update(label={})),
    Planted(
        "metadata-schema", "no field annotation", lambda d: worker(d)["template"]["metadata"].update(annotation={})
    ),
    Planted("metadata-schema", "not of type", lambda d: d[0]["metadata"].update(annotations={"a": 1})),
    Planted(
        "neighbour-schema",
        "no field intervall",
        lambda d: named(d, "PodMonitor")["podMetricsEndpoints"][0].update(intervall="15s"),
    ),
    Planted(
        "neighbour-schema",
        "duration",
        lambda d: named(d, "PodMonitor")["podMetricsEndpoints"][0].update(interval="15 s"),
    ),
    Planted("neighbour-schema", "name is missing", lambda d: named(d, "PrometheusRule")["groups"][0].pop("name")),
    Planted("neighbour-schema", "whole number", lambda d: named(d, "Gateway")["listeners"][0].update(port="80")),
]
