"""KubeRay's resources against the schemas of its custom resource definitions.

These are some 500 KB and belong to KubeRay, so they are not kept here. `KUBERAY_CRDS` (or `--kuberay-crds`) names a
folder with them: the YAML files of its Helm chart (`kuberay-operator/crds`), or the schemas alone as
`Kind.v1.openapi.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deployments.k8s.objects import Fault, KubeObject, get, mappings
from deployments.k8s.schemas.errors import faults
from deployments.k8s.schemas.openapi import json_schema, with_defaults
from engine.errors import ConfigError

GROUP = "ray.io"


@dataclass(frozen=True, slots=True)
class Definition:
    """A kind's schema as KubeRay has it, and a validator for it (of `jsonschema`)."""

    schema: Mapping[str, Any]
    validator: Any


Schemas = Mapping[tuple[str, str], Definition]  # by apiVersion and kind


def load_schemas(folder: Path) -> Schemas:
    """All schemas of a folder. Raises ConfigError where there is none of a RayService."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    try:
        for path in sorted(folder.glob("*.openapi.json")):
            kind, version, *_ = path.name.split(".")
            found[f"{GROUP}/{version}", kind] = json.loads(path.read_text(encoding="utf-8"))
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            for document in yaml.load_all(
                path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            ):
                found.update(_of_definition(document))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"The schemas in {folder} cannot be read: {error}.", param="kuberay-crds") from error
    if (f"{GROUP}/v1", "RayService") not in found:
        raise ConfigError(
            f"{folder} has no definition of RayService: KUBERAY_CRDS names a folder such as the crds/ of KubeRay's "
            "Helm chart.",
            param="kuberay-crds",
        )
    return {key: _prepared(schema) for key, schema in found.items()}


def _prepared(schema: Mapping[str, Any]) -> Definition:
    from jsonschema import Draft202012Validator

    return Definition(schema, Draft202012Validator(json_schema(schema)))


def _of_definition(document: Any) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    if get(document, "kind") != "CustomResourceDefinition" or get(document, "spec.group") != GROUP:
        return
    for _, version in mappings(document, "spec.versions"):
        key = f"{GROUP}/{version.get('name')}", str(get(document, "spec.names.kind"))
        yield key, get(version, "schema.openAPIV3Schema", {})


def kuberay_schema(objects: Sequence[KubeObject], schemas: Schemas) -> Iterator[Fault]:
    """KubeRay's resources, strictly."""
    for one in objects:
        if one.group != GROUP:
            continue
        definition = schemas.get((one.api_version, one.kind))
        if definition is None:
            yield Fault(one, "kind", f"KubeRay has no {one.kind} in {one.api_version}")
            continue
        yield from faults(one, definition.validator.iter_errors(with_defaults(definition.schema, one.data)))
