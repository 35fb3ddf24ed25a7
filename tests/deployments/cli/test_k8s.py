from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from deployments.cli import app
from deployments.k8s import report
from engine.errors import ConfigError
from tests.deployments.k8s.good import FACTS, Document, container, good, head


@pytest.fixture(autouse=True)
def _facts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "gather", lambda: FACTS)
    monkeypatch.delenv("KUBERAY_CRDS", raising=False)


def write(path: Path, documents: list[Document]) -> Path:
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return path


def test_good_manifests_end_with_status_0(tmp_path: Path) -> None:
    path = write(tmp_path / "good.yaml", good())
    result = CliRunner().invoke(app, ["k8s", "check", str(path)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Nothing wrong in 12 objects of 1 manifests" in result.stderr
    assert "KUBERAY_CRDS" in result.stderr  # what was not looked at is said


def test_faults_are_printed_a_line_each_and_end_with_status_1(tmp_path: Path) -> None:
    documents = good()
    container(head(documents))["image"] = "stageline"
    path = write(tmp_path / "bad.yaml", documents)
    result = CliRunner().invoke(app, ["k8s", "check", str(path)])
    assert result.exit_code == 1
    [line] = result.stdout.splitlines()
    assert line.startswith(
        f"{path}: RayService/stageline: spec.rayClusterConfig.headGroupSpec.template.spec.containers[0]"
    )
    assert line.endswith("[image-version]")


def test_digests_are_wanted_on_request(tmp_path: Path) -> None:
    path = write(tmp_path / "good.yaml", good())
    result = CliRunner().invoke(app, ["k8s", "check", "--require-digest", str(path)])
    assert result.exit_code == 1
    assert {line.rpartition(" ")[2] for line in result.stdout.splitlines()} == {"[image-digest]"}


def test_kinds_without_a_schema_are_named(tmp_path: Path) -> None:
    issuer = {"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "i"}, "spec": {}}
    result = CliRunner().invoke(app, ["k8s", "check", str(write(tmp_path / "a.yaml", [*good(), issuer]))])
    assert result.exit_code == 0
    assert "no schema here of cert-manager.io/v1 Issuer" in result.stderr


def test_what_cannot_be_rendered_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [missing.yaml]\n", encoding="utf-8")
    try:
        result = CliRunner().invoke(app, ["k8s", "check", str(tmp_path)], catch_exceptions=False)
    except ConfigError as error:
        pytest.skip(f"{error}")
    assert result.exit_code == 1
    assert "missing.yaml" in result.stdout
    assert "[render]" in result.stdout


def test_rules_are_listed_with_what_they_want() -> None:
    result = CliRunner().invoke(app, ["k8s", "check", "--rules"])
    assert result.exit_code == 0
    assert "kuberay-upgrade" in result.stdout
    assert len(result.stdout.splitlines()) > 50
