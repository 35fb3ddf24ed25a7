"""Many manifests rendered and checked, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deployments.k8s import checkov
from deployments.k8s.chart import chart_findings, overlays
from deployments.k8s.check import Finding, check
from deployments.k8s.facts import gather, with_secrets
from deployments.k8s.objects import load_objects
from deployments.k8s.programs import CannotRender
from deployments.k8s.schemas.core import is_core
from deployments.k8s.schemas.kuberay import load_schemas
from deployments.k8s.schemas.neighbours import unknown_kinds
from deployments.k8s.targets import K8S, Target, project_targets


@dataclass(frozen=True, slots=True)
class Options:
    """How to check: the version of Kubernetes, the folder of KubeRay's definitions, whether images have to be named by
    digest, whether checkov runs too, and Secrets that are made in the cluster (`NAME=KEY`)."""

    kubernetes: str
    kuberay_crds: Path | None
    digests: bool = False
    checkov: bool = False
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and what could not be looked at (`notes`)."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    objects: int
    targets: int


def check_project(options: Options, tell: Callable[[str], None]) -> Report:
    """All of the project's own manifests, and its chart against its overlays. Raises ConfigError as `check_targets`."""
    report = check_targets(project_targets(), options, tell)
    found: list[Finding] = []
    if (K8S / "chart" / "Chart.yaml").exists() and not any(one.rule == "render" for one in report.findings):
        found = [finding for overlay in overlays() for finding in chart_findings(overlay)]
        tell(f"chart and overlays: {len(found)} differences" if found else "chart and overlays: the same")
    return replace(report, findings=(*report.findings, *found))


def check_targets(targets: Sequence[Target], options: Options, tell: Callable[[str], None]) -> Report:
    """`tell` takes a line for each target. Raises ConfigError where kubectl, Helm or schemas are wanted and not to be
    had, and for a Secret that says no key."""
    facts = with_secrets(gather(), options.secrets)
    schemas = None if options.kuberay_crds is None else load_schemas(options.kuberay_crds)
    findings: list[Finding] = []
    unknown: set[str] = set()
    count = 0
    for target in targets:
        try:
            text = target.render()
        except CannotRender as error:
            findings.append(Finding("render", target.name, "-", "-", error.message))
            tell(f"{target.name}: cannot be rendered")
            continue
        objects = load_objects(text, target.name)
        found = check(
            objects,
            facts,
            source=target.name,
            kubernetes=options.kubernetes,
            kuberay=schemas,
            digests=options.digests,
            without=target.unsaid,
        )
        if options.checkov:
            found += checkov.run(objects, target.name)
        findings += found
        count += len(objects)
        unknown |= set(unknown_kinds([one for one in objects if not is_core(one)], ["ray.io"]))
        tell(f"{target.name}: {len(objects)} objects, {len(found)} faults" if found else f"{target.name}: good")
    return Report(tuple(findings), tuple(_notes(options, unknown)), count, len(targets))


def _notes(options: Options, unknown: set[str]) -> list[str]:
    notes = []
    if options.kuberay_crds is None:
        notes.append(
            "KubeRay's resources were not held against its definitions, only against its rules and the schema of pods: "
            "give their folder with --kuberay-crds or KUBERAY_CRDS."
        )
    if unknown:
        notes.append(f"There is no schema here of {', '.join(sorted(unknown))}.")
    return notes
