from __future__ import annotations

from pathlib import Path

import pytest

from deployments.k8s.objects import load_objects
from deployments.k8s.programs import CannotRender, Program
from deployments.k8s.targets import targets_of
from engine.errors import ConfigError

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write(
        tmp_path / "k8s",
        {
            "base/kustomization.yaml": "resources: [a.yaml]\n",
            "base/a.yaml": CONFIG_MAP % "a",
            "components/more/kustomization.yaml": "kind: Component\nresources: [b.yaml]\n",
            "components/more/b.yaml": CONFIG_MAP % "b",
            "overlays/one/kustomization.yaml": "resources: [../../base]\ncomponents: [../../components/more]\n",
            "overlays/one/patch.yaml": "not: an object\n",
            "chart/Chart.yaml": "apiVersion: v2\nname: c\nversion: 0.1.0\n",
            "chart/values.yaml": "name: c\n",
            "chart/values/one.yaml": "name: d\n",
            "chart/templates/c.yaml": CONFIG_MAP % "{{ .Values.name }}",
            "images/cpu/notes.yaml": "not: an object\n",
            "loadtest/plain.yaml": CONFIG_MAP % "e",
        },
    )


def test_everything_below_a_folder_is_found(tree: Path) -> None:
    names = [target.name.replace(f"{tree}/", "") for target in targets_of(tree)]
    assert names == [
        "base",
        "chart",
        "chart with values/one.yaml",
        "components/more on base",
        "loadtest/plain.yaml",
        "overlays/one",
    ]


def test_kustomizations_and_files_are_rendered(kubectl: Program, tree: Path) -> None:
    wanted = [target for target in targets_of(tree) if target.path != tree / "chart"]
    found = [[one.name for one in load_objects(target.render(), target.name)] for target in wanted]
    assert found == [["a"], ["a", "b"], ["e"], ["a", "b"]]


def test_charts_are_rendered_with_each_file_of_values(helm: Program, tree: Path) -> None:
    found = [[one.name for one in load_objects(target.render(), target.name)] for target in targets_of(tree / "chart")]
    assert found == [["c"], ["d"]]


def test_what_cannot_be_rendered_is_told_in_kustomizes_words(kubectl: Program, tree: Path) -> None:
    (tree / "base" / "a.yaml").unlink()
    with pytest.raises(CannotRender, match=r"a\.yaml"):
        targets_of(tree / "base")[0].render()


def test_nothing_to_check_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        targets_of(tmp_path / "none")
    with pytest.raises(ConfigError, match="no kustomization"):
        targets_of(tmp_path)
