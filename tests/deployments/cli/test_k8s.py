from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from deployments.cli import app
from deployments.k8s import programs, render, report
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


def test_secrets_that_you_make_can_be_said(tmp_path: Path) -> None:
    documents = good()
    documents[0]["spec"]["rayClusterConfig"]["authOptions"]["secretName"] = "ray-token-2"
    path = str(write(tmp_path / "rotated.yaml", documents))
    assert "--secret ray-token-2=auth_token" in CliRunner().invoke(app, ["k8s", "check", path]).stdout
    result = CliRunner().invoke(app, ["k8s", "check", "--secret", "ray-token-2=auth_token", path])
    assert (result.exit_code, result.stdout) == (0, "")


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


CONFIG = """\
models:
  - name: small
    source: pypi:small==1.0/model.gguf
    variants:
      - {precision: bf16, cores: 2, replicas: {min: 1, max: 3}}
"""


@pytest.fixture
def overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    try:
        programs.kubectl()
    except ConfigError as error:
        pytest.skip(f"{error}")
    monkeypatch.setattr(render, "gather", lambda: FACTS)
    folder = tmp_path / "overlay"
    folder.mkdir()
    write(folder / "all.yaml", good())
    (folder / "kustomization.yaml").write_text("resources: [all.yaml]\n", encoding="utf-8")
    return folder


def test_render_prints_finished_manifests_that_are_good(overlay: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    result = CliRunner().invoke(app, ["k8s", "render", str(tmp_path / "config.yaml"), "--overlay", str(overlay)])
    assert result.exit_code == 0, result.output
    assert "Worker group cpu: 2 cores each, 1 always, 3 at most." in result.stderr
    (tmp_path / "out.yaml").write_text(result.stdout, encoding="utf-8")
    assert CliRunner().invoke(app, ["k8s", "check", str(tmp_path / "out.yaml")]).exit_code == 0


def test_render_writes_an_overlay_on_top(overlay: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    command = [
        "k8s",
        "render",
        str(tmp_path / "config.yaml"),
        "--overlay",
        str(overlay),
        "--output",
        str(tmp_path / "mine"),
    ]
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, result.stdout) == (0, "")
    assert yaml.safe_load((tmp_path / "mine" / "kustomization.yaml").read_text(encoding="utf-8"))["resources"] == [
        "../overlay"
    ]
    assert CliRunner().invoke(app, ["k8s", "check", str(tmp_path / "mine")]).exit_code == 0
