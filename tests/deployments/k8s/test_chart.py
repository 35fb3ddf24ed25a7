from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployments.k8s.chart import chart_findings, overlays
from deployments.k8s.programs import Program

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {a: %s}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "base/kustomization.yaml": "resources: [a.yaml]\n",
        "base/a.yaml": CONFIG_MAP % ("a", "one"),
        "components/monitoring/kustomization.yaml": "kind: Component\nresources: [m.yaml]\n",
        "components/monitoring/m.yaml": CONFIG_MAP % ("m", "one"),
        "overlays/one/kustomization.yaml": yaml.safe_dump(
            {"namespace": "here", "resources": ["../../base"], "components": ["../../components/monitoring"]}
        ),
        "chart/Chart.yaml": "apiVersion: v2\nname: c\nversion: 0.1.0\n",
        "chart/values.yaml": "a: zero\n",
        "chart/values/one.yaml": "a: one\n",
        "chart/templates/a.yaml": CONFIG_MAP % ("a", "{{ .Values.a }}"),
    }
    for name, text in files.items():
        path = tmp_path / "k8s" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "k8s"


def found(root: Path) -> list[str]:
    return [str(finding) for overlay in overlays(root) for finding in chart_findings(overlay, root)]


def test_a_chart_that_makes_the_same_has_nothing_wrong(kubectl: Program, helm: Program, root: Path) -> None:
    assert found(root) == []


def test_a_difference_is_told(kubectl: Program, helm: Program, root: Path) -> None:
    (root / "chart" / "values" / "one.yaml").write_text("a: two\n", encoding="utf-8")
    [line] = found(root)
    assert 'ConfigMap/a: -: data.a: "one" and "two"' in line
    assert line.endswith("[chart-and-overlay]")


def test_an_overlay_without_values_is_told(root: Path) -> None:
    (root / "chart" / "values" / "one.yaml").unlink()
    [line] = found(root)
    assert "no file of values for the overlay one" in line
