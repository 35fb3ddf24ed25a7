"""Grafana dashboards of Stageline on Kubernetes, as code: `python -m deployments.k8s.dashboards` writes their JSON to
`k8s/components/monitoring/dashboards`, from where kustomize and the chart take it."""

from __future__ import annotations

from deployments.k8s.dashboards.model import MODEL
from deployments.k8s.dashboards.node import NODE
from deployments.k8s.dashboards.panels import Dashboard
from deployments.k8s.dashboards.pipeline import PIPELINE
from deployments.k8s.dashboards.service import SERVICE

DASHBOARDS: tuple[Dashboard, ...] = (SERVICE, MODEL, PIPELINE, NODE)
