"""Two ways to the same objects: what a chart and an overlay render, held against each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from deployments.k8s.objects import KubeObject, get

# What a chart says of itself on everything that it makes.
OF_A_CHART = (
    "helm.sh/chart",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
)


def differences(left: Sequence[KubeObject], right: Sequence[KubeObject]) -> list[str]:
    """A line for each object that only one of both has, and for each place at which both differ. Labels and annotations
    by which a chart marks its objects do not count, nor how texts of YAML and JSON are written."""
    ours, theirs = _by_label(left), _by_label(right)
    lines = [f"{label} is only in the first" for label in sorted(ours.keys() - theirs.keys())]
    lines += [f"{label} is only in the second" for label in sorted(theirs.keys() - ours.keys())]
    for label in sorted(ours.keys() & theirs.keys()):
        lines += [f"{label}: {line}" for line in _differ(_plain(ours[label].data), _plain(theirs[label].data), "")]
    return lines


def _by_label(objects: Sequence[KubeObject]) -> dict[str, KubeObject]:
    return {one.label: one for one in objects}


def _plain(data: Any, key: str = "") -> Any:
    """Without what a chart says of itself, and with texts of YAML and JSON as their values."""
    if isinstance(data, Mapping):
        kept = {name: _plain(value, str(name)) for name, value in data.items() if name not in OF_A_CHART}
        # An empty section says nothing; a chart leaves such behind.
        return {name: value for name, value in kept.items() if value not in ({}, None)}
    if isinstance(data, list):
        return [_plain(value) for value in data]
    if isinstance(data, str) and (key == "serveConfigV2" or key.endswith((".yaml", ".json"))):
        return _read(data)
    return data


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _differ(left: Any, right: Any, path: str) -> Iterator[str]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in sorted({*left, *right}, key=str):
            at = f"{path}.{key}".lstrip(".")
            if key not in left or key not in right:
                yield f"{at} is only in the {'first' if key in left else 'second'}"
            else:
                yield from _differ(left[key], right[key], at)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _differ(one, other, f"{path}[{index}]")
    elif left != right:
        yield f"{path}: {_short(left)} and {_short(right)}"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) < 80 else f"{text[:77]}..."


def without_namespace(objects: Sequence[KubeObject]) -> list[KubeObject]:
    """The same objects, which say nothing of a namespace: Helm is told it, and kustomize writes it."""
    found = []
    for one in objects:
        metadata = {key: value for key, value in get(one.data, "metadata", {}).items() if key != "namespace"}
        found.append(KubeObject({**one.data, "metadata": metadata}))
    return found
