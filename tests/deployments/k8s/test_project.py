"""The project's own manifests: they render, nothing is wrong with them, and chart and overlays come to the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.k8s.check import check
from deployments.k8s.compare import differences, without_namespace
from deployments.k8s.facts import gather
from deployments.k8s.objects import load_objects
from deployments.k8s.programs import Program
from deployments.k8s.schemas.kuberay import Schemas
from deployments.k8s.targets import K8S, Target, chart_values, helm_template, kustomize, project_targets

TARGETS = project_targets() if K8S.is_dir() else []
OVERLAYS = sorted(path.parent for path in K8S.glob("overlays/*/kustomization.yaml"))
CHART = K8S / "chart"


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_nothing_is_wrong(target: Target, kubectl: Program, request: pytest.FixtureRequest) -> None:
    if (target.path / "Chart.yaml").exists():
        request.getfixturevalue("helm")
    objects = load_objects(target.render(), target.name)
    assert objects
    assert [str(finding) for finding in check(objects, gather(), source=target.name)] == []


@pytest.mark.parametrize("overlay", OVERLAYS, ids=[overlay.name for overlay in OVERLAYS])
def test_overlays_are_good_for_kuberay(overlay: Path, kubectl: Program, kuberay_schemas: Schemas) -> None:
    objects = load_objects(kustomize(overlay), overlay.name)
    found = check(objects, gather(), kuberay=kuberay_schemas)
    assert [str(finding) for finding in found if finding.rule == "kuberay-schema"] == []


@pytest.mark.parametrize("overlay", OVERLAYS, ids=[overlay.name for overlay in OVERLAYS])
def test_the_chart_makes_an_overlays_objects(overlay: Path, kubectl: Program, helm: Program) -> None:
    name = overlay.name
    values = {path.stem.removeprefix("values-"): path for path in chart_values(CHART)}
    assert name in values, f"the chart has no file of values for the overlay {name}"
    chart = load_objects(helm_template(CHART, values[name]), f"chart with {name}")
    folder = load_objects(kustomize(overlay), name)
    assert differences(without_namespace(folder), without_namespace(chart)) == []
