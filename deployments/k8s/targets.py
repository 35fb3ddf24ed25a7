"""What can be checked: kustomize's folders, a Helm chart with its files of values, YAML that is rendered already."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deployments.k8s import programs
from deployments.k8s.facts import ROOT
from deployments.k8s.yaml_text import dump
from engine.errors import ConfigError

K8S = ROOT / "k8s"
RELEASE = "stageline"
NAMESPACE = "stageline"
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")


@dataclass(frozen=True, slots=True)
class Target:
    """Something that comes to a stream of YAML. `values` are a chart's; `base` is what a component is put on."""

    name: str
    path: Path
    values: Path | None = None
    base: Path | None = None

    @property
    def unsaid(self) -> frozenset[str]:
        """Rules about what this says nothing of: a component leaves what is served, and so the front doors, to the
        overlay that takes it."""
        return frozenset({"front-doors"} if self.base is not None else ())

    def render(self) -> str:
        """The YAML. Raises ConfigError where it cannot be rendered."""
        if self.base is not None:
            return kustomize_component(self.base, self.path)
        if _kustomization(self.path) is not None:
            return kustomize(self.path)
        if (self.path / "Chart.yaml").exists():
            return helm_template(self.path, self.values)
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.path} cannot be read: {error}.") from error


def targets_of(path: Path) -> list[Target]:
    """What a path stands for: one file, one folder, or all that lies below a folder. Raises ConfigError for nothing."""
    if not path.exists():
        raise ConfigError(f"{path} is not there.")
    if path.is_file():
        return [Target(_shown(path), path)]
    found = list(_below(path))
    if not found:
        raise ConfigError(f"{path} has no kustomization, chart or YAML file.")
    return found


def project_targets() -> list[Target]:
    """Everything under the project's own k8s/."""
    if not K8S.is_dir():
        raise ConfigError(f"There is no folder {K8S}: this is no checkout of Stageline. Say what to check.")
    return targets_of(K8S)


def _below(folder: Path) -> Iterator[Target]:
    kustomization = _kustomization(folder)
    if kustomization is not None:
        if kustomization.get("kind") == "Component":
            base = _base_of(folder)
            if base is not None:
                yield Target(f"{_shown(folder)} on {_shown(base)}", folder, base=base)
        else:
            yield Target(_shown(folder), folder)
    elif (folder / "Chart.yaml").exists():
        yield Target(_shown(folder), folder)
        for values in chart_values(folder):
            yield Target(f"{_shown(folder)} with {values.relative_to(folder)}", folder, values)
        return  # what lies below belongs to the chart
    else:
        yield from (Target(_shown(path), path) for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]))
    for below in sorted(path for path in folder.iterdir() if path.is_dir() and path.name != "images"):
        yield from _below(below)


def chart_values(chart: Path) -> list[Path]:
    """Files of values that a chart brings beside its own: values-NAME.yaml, values/NAME.yaml, ci/NAME.yaml."""
    return sorted([*chart.glob("values-*.yaml"), *chart.glob("values/*.yaml"), *chart.glob("ci/*.yaml")])


def kustomize(folder: Path) -> str:
    """What `kubectl kustomize` makes of a folder."""
    return programs.run(programs.kubectl(), ["kustomize", str(folder)])


def kustomize_component(base: Path, component: Path) -> str:
    """A component on a base: for those which no overlay has."""
    with tempfile.TemporaryDirectory(prefix="stageline-k8s-") as folder:
        real = Path(folder).resolve()
        write_kustomization(real, {"resources": [relative(base, real)], "components": [relative(component, real)]})
        return kustomize(real)


def write_kustomization(folder: Path, content: dict[str, Any]) -> None:
    """A kustomization.yaml."""
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (folder / "kustomization.yaml").write_text(dump({**head, **content}), encoding="utf-8")


def relative(path: Path, folder: Path) -> str:
    """As kustomize wants it: it takes no absolute paths."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def helm_template(chart: Path, values: Path | None) -> str:
    """What `helm template` makes of a chart. Helm's own files go to a folder that is gone afterwards."""
    arguments = ["template", RELEASE, str(chart), "--namespace", NAMESPACE]
    if values is not None:
        arguments += ["--values", str(values)]
    with tempfile.TemporaryDirectory(prefix="stageline-helm-") as folder:
        env = {f"HELM_{name}_HOME": str(Path(folder) / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        return programs.run(programs.helm(), arguments, env=env)


def _kustomization(folder: Path) -> dict[str, Any] | None:
    for name in _KUSTOMIZATIONS:
        path = folder / name
        if path.is_file():
            try:
                return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            except yaml.YAMLError as error:
                raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}.") from error
    return None


def _base_of(component: Path) -> Path | None:
    """The folder `base` beside the folder of components."""
    base = component.parent.parent / "base"
    return base if _kustomization(base) is not None else None


def _shown(path: Path) -> str:
    """From the checkout's root, or as it is."""
    resolved = path.resolve()
    return resolved.relative_to(ROOT).as_posix() if resolved.is_relative_to(ROOT) else str(path)
