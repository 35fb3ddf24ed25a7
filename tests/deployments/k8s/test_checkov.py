from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from deployments.k8s import checkov
from deployments.k8s.objects import KubeObject
from engine.errors import ConfigError
from tests.deployments.k8s.good import good

OBJECTS = [KubeObject(document) for document in good()]


def test_ray_pods_are_shown_as_pods() -> None:
    documents = checkov.documents(OBJECTS)
    assert not any(document["apiVersion"].startswith("ray.io/") for document in documents)
    assert {"stageline-headgroup", "stageline-cpu"} <= {document["metadata"]["name"] for document in documents}


def test_what_it_finds_is_told_with_its_own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {
        "check_id": "CKV_K8S_1",
        "check_name": "Do not",
        "resource": "Pod.stageline.x",
        "check_result": {"evaluated_keys": ["spec/a"]},
    }
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"results": {"failed_checks": [failed]}}), encoding="utf-8")
    program = tmp_path / "checkov"
    program.write_text(f'#!/bin/sh\ncp "$2" {tmp_path}/seen.yaml\ncat {report}\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    [finding] = checkov.run(OBJECTS, "k8s/overlays/x")
    assert str(finding) == "k8s/overlays/x: Pod.stageline.x: spec/a: Do not [CKV_K8S_1]"
    seen = list(yaml.safe_load_all((tmp_path / "seen.yaml").read_text(encoding="utf-8")))
    assert len(seen) == len(checkov.documents(OBJECTS))


def test_where_it_is_not_installed_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="checkov is not installed"):
        checkov.run(OBJECTS, "x")
