"""checkov, a large collection of security rules, where somebody has installed it. (Our own rules are enough to go
by.)"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deployments.k8s.check import Finding
from deployments.k8s.objects import KubeObject
from deployments.k8s.pods import ray_pods
from deployments.k8s.programs import Program
from deployments.k8s.programs import run as run_program
from engine.errors import ConfigError

# What is decided otherwise here, and why.
SKIPPED: Mapping[str, str] = {
    "CKV_K8S_15": "imagePullPolicy Always: an image that is named by its version is the same tomorrow",
    "CKV_K8S_35": "secrets as files: KubeRay hands them to Ray as variables, and so do package indexes take theirs",
    "CKV_K8S_43": "digests: `--require-digest` asks for them; the project's own manifests cannot know yours",
    "CKV2_K8S_6": "network policies for all pods: which there are is an overlay's choice",
}
_NAMESPACE = "stageline"


def run(objects: Sequence[KubeObject], source: str) -> list[Finding]:
    """What it finds. It knows nothing of KubeRay's resources, so their pods are shown to it as pods. Raises ConfigError
    where it is not installed."""
    found = shutil.which("checkov")
    if found is None:
        raise ConfigError(
            "checkov is not installed: pip install checkov (into an environment of its own), or leave --checkov out."
        )
    with tempfile.TemporaryDirectory(prefix="stageline-checkov-") as folder:
        path = Path(folder) / "manifests.yaml"
        path.write_text(yaml.safe_dump_all(documents(objects), sort_keys=False), encoding="utf-8")
        arguments = ["--file", str(path), "--framework", "kubernetes", "--output", "json", "--quiet", "--compact"]
        arguments += ["--soft-fail", "--skip-download"]
        if SKIPPED:
            arguments += ["--skip-check", ",".join(sorted(SKIPPED))]
        text = run_program(Program(Path(found)), arguments, timeout_s=240.0)
    return list(_findings(json.loads(text), source))


def documents(objects: Sequence[KubeObject]) -> list[dict[str, Any]]:
    """The objects, and the Ray pods as pods."""
    shown = [dict(one.data) for one in objects if one.group != "ray.io"]
    for pod in ray_pods(objects):
        metadata = {"name": f"{pod.owner.name}-{pod.group}", "labels": dict(pod.labels)}
        shown.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(pod.spec)})
    # A base says no namespace, and nothing is applied without one.
    return [{**one, "metadata": {"namespace": _NAMESPACE, **one["metadata"]}} for one in shown]


def _findings(report: Any, source: str) -> Iterator[Finding]:
    parts = report if isinstance(report, list) else [report]
    for part in parts:
        for failed in (part.get("results") or {}).get("failed_checks") or ():
            where = ", ".join(failed.get("check_result", {}).get("evaluated_keys") or []) or "-"
            yield Finding(str(failed["check_id"]), source, str(failed["resource"]), where, str(failed["check_name"]))
