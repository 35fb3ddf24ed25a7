"""The chart against the overlays: with the values that are named like an overlay it makes that overlay's objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deployments.k8s.check import Finding
from deployments.k8s.compare import differences, without_namespace
from deployments.k8s.objects import KubeObject, load_objects
from deployments.k8s.targets import K8S, chart_values, helm_template, kustomize, kustomize_component

RULE = "chart-and-overlay"


def overlays(root: Path = K8S) -> list[Path]:
    """The folders of all overlays."""
    return sorted(path.parent for path in root.glob("overlays/*/kustomization.yaml"))


def chart_findings(overlay: Path, root: Path = K8S) -> Iterator[Finding]:
    """Where the chart makes something else. Raises ConfigError where one of both cannot be rendered."""
    name, source = overlay.name, f"{root.name}/chart and {root.name}/overlays/{overlay.name}"
    values = {path.stem.removeprefix("values-"): path for path in chart_values(root / "chart")}
    if name not in values:
        yield Finding(RULE, source, "-", "-", f"the chart has no file of values for the overlay {name}")
        return
    left_out = monitoring(root)
    made = load_objects(helm_template(root / "chart", values[name]), f"{root.name}/chart")
    wanted = [one for one in load_objects(kustomize(overlay), name) if one.label not in left_out]
    for line in differences(without_namespace(wanted), without_namespace(made)):
        label, _, difference = line.partition(": ")
        yield Finding(RULE, source, label, "-", f"{difference or label} (first: the overlay; second: the chart)")


def monitoring(root: Path = K8S) -> set[str]:
    """What the component adds; the chart leaves that to it, for it is large and the same for everybody."""
    component = root / "components" / "monitoring"
    if not component.is_dir():
        return set()
    with_it = load_objects(kustomize_component(root / "base", component), "monitoring")
    return _labels(with_it) - _labels(load_objects(kustomize(root / "base"), "base"))


def _labels(objects: tuple[KubeObject, ...]) -> set[str]:
    return {one.label for one in objects}
