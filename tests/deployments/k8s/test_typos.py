"""A typo in any field of the project's own manifests is found, whichever schema it takes."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest

from deployments.k8s.chart import overlays
from deployments.k8s.check import KUBERNETES
from deployments.k8s.objects import KubeObject, load_objects
from deployments.k8s.programs import Program
from deployments.k8s.schemas.core import core_schema, metadata_schema, pod_schema
from deployments.k8s.schemas.kuberay import Schemas, kuberay_schema
from deployments.k8s.schemas.neighbours import neighbour_schema
from deployments.k8s.targets import kustomize

Path = tuple[str | int, ...]

# What is below these has names of its own.
FREE = {
    "labels",
    "annotations",
    "matchLabels",
    "rayStartParams",
    "requests",
    "limits",
    "nodeSelector",
    "selector",
    "data",
}
OVERLAYS = overlays()


def fields(data: Any, path: Path = ()) -> Iterator[Path]:
    """All fields of an object that have a name which a schema knows."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*path, key)
            if key not in FREE or (key == "selector" and "matchLabels" in str(value)):
                yield from fields(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from fields(value, (*path, index))


def renamed(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """A copy in which a field's name has one letter more."""
    document = copy.deepcopy(document)
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    at[f"{path[-1]}x"] = at.pop(path[-1])
    return document


def found(document: dict[str, Any], schemas: Schemas) -> bool:
    one = [KubeObject(document)]
    checks = (kuberay_schema(one, schemas), core_schema(one, KUBERNETES), pod_schema(one, KUBERNETES))
    return any(any(faults) for faults in (*checks, metadata_schema(one, KUBERNETES), neighbour_schema(one)))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=[overlay.name for overlay in OVERLAYS])
def test_a_typo_in_any_field_is_found(overlay: FilePath, kubectl: Program, kuberay_schemas: Schemas) -> None:
    seen: set[str] = set()
    missed: list[str] = []
    for one in load_objects(kustomize(overlay), overlay.name):
        document = dict(one.data)
        for path in fields(document):
            place = re.sub(
                r"\[\d+\]", "[]", f"{one.kind}:{'.'.join(f'[{key}]' if isinstance(key, int) else key for key in path)}"
            )
            if place in seen or path in (("kind",), ("apiVersion",)):  # without these it is no object
                continue
            seen.add(place)
            if not found(renamed(document, path), kuberay_schemas):
                missed.append(place)
    assert len(seen) > 100
    assert missed == []
