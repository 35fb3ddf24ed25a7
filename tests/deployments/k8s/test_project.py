"""The project's own manifests: they render, nothing is wrong with them, and chart and overlays come to the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.k8s.chart import chart_findings, overlays
from deployments.k8s.check import check
from deployments.k8s.facts import gather
from deployments.k8s.objects import load_objects
from deployments.k8s.programs import Program
from deployments.k8s.schemas.kuberay import Schemas
from deployments.k8s.targets import K8S, Target, kustomize, project_targets

TARGETS = project_targets() if K8S.is_dir() else []
OVERLAYS = overlays()


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_nothing_is_wrong(target: Target, kubectl: Program, request: pytest.FixtureRequest) -> None:
    if (target.path / "Chart.yaml").exists():
        request.getfixturevalue("helm")
    objects = load_objects(target.render(), target.name)
    assert objects
    assert [str(finding) for finding in check(objects, gather(), source=target.name, without=target.unsaid)] == []


@pytest.mark.parametrize("overlay", OVERLAYS, ids=[overlay.name for overlay in OVERLAYS])
def test_overlays_are_good_for_kuberay(overlay: Path, kubectl: Program, kuberay_schemas: Schemas) -> None:
    objects = load_objects(kustomize(overlay), overlay.name)
    found = check(objects, gather(), kuberay=kuberay_schemas)
    assert [str(finding) for finding in found if finding.rule == "kuberay-schema"] == []


@pytest.mark.parametrize("overlay", OVERLAYS, ids=[overlay.name for overlay in OVERLAYS])
def test_the_chart_makes_an_overlays_objects(overlay: Path, kubectl: Program, helm: Program) -> None:
    assert [str(finding) for finding in chart_findings(overlay)] == []


def test_images_name_variables_that_are_read_and_the_front_doors_port() -> None:
    facts = gather()
    for image in facts.images:
        ours = {name for name in image.env if name.startswith("STAGELINE_")}
        assert ours <= facts.our_variables
        assert [name for name in image.env if name.startswith("RAY_") and not facts.ray_reads(name)] == []
        assert facts.port in image.ports
        assert image.user.partition(":")[0].isdigit()
