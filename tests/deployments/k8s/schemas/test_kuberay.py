from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.k8s.objects import KubeObject
from deployments.k8s.schemas.kuberay import Schemas, kuberay_schema, load_schemas
from engine.errors import ConfigError
from tests.deployments.k8s.good import container, good, head, pod, service_of, worker
from tests.deployments.k8s.mistakes.planted import cluster_of

SMALL = {
    "type": "object",
    "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": {"type": "object", "properties": {"count": {"type": "integer"}}},
    },
}


def faults(documents: list[dict[str, Any]], schemas: Schemas) -> list[tuple[str, str]]:
    found = kuberay_schema([KubeObject(document) for document in documents], schemas)
    return [(fault.path, fault.message) for fault in found]


def test_schemas_come_from_definitions_and_from_plain_files(tmp_path: Path) -> None:
    definition = {
        "kind": "CustomResourceDefinition",
        "spec": {
            "group": "ray.io",
            "names": {"kind": "RayService"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": SMALL}}],
        },
    }
    (tmp_path / "crds.yaml").write_text(yaml.safe_dump_all([definition, {"kind": "Other"}]), encoding="utf-8")
    (tmp_path / "RayJob.v1.openapi.json").write_text(json.dumps(SMALL), encoding="utf-8")
    schemas = load_schemas(tmp_path)
    assert set(schemas) == {("ray.io/v1", "RayService"), ("ray.io/v1", "RayJob")}
    good = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {}, "spec": {"count": 1}}
    assert faults([good], schemas) == []
    assert faults([{**good, "spec": {"cuont": 1}}], schemas) == [("spec", "there is no field cuont here")]
    assert faults([{**good, "kind": "RayServise"}], schemas) == [("kind", "KubeRay has no RayServise in ray.io/v1")]


def test_a_folder_without_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no definition of RayService"):
        load_schemas(tmp_path)


def test_the_good_objects_are_good_for_kuberay(kuberay_schemas: Schemas) -> None:
    assert faults(good(), kuberay_schemas) == []


CHANGES: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("spec", "serveConfig", lambda d: service_of(d).update(serveConfig="")),
    ("rayClusterConfig", "enableAutoscaling", lambda d: cluster_of(d).update(enableAutoscaling=1)),
    ("workerGroupSpecs[0]", "minReplica", lambda d: worker(d).update(minReplica=1)),
    ("template.spec", "restartPolcy", lambda d: pod(worker(d)).update(restartPolcy="Never")),
    ("env[0]", "valu", lambda d: container(head(d))["env"][0].update(valu="x")),
    ("rayStartParams.num-cpus", "not of type 'string'", lambda d: head(d)["rayStartParams"].update({"num-cpus": 0})),
    ("maxReplicas", "not of type 'integer'", lambda d: worker(d).update(maxReplicas="2")),
    ("upscalingMode", "not one of", lambda d: cluster_of(d)["autoscalerOptions"].update(upscalingMode="Slow")),
]


@pytest.mark.parametrize(("path", "says", "change"), CHANGES, ids=[says for _, says, _ in CHANGES])
def test_a_typo_anywhere_is_found(kuberay_schemas: Schemas, path: str, says: str, change: Callable[[Any], Any]) -> None:
    documents = good()
    change(documents)
    [(at, message)] = faults(documents, kuberay_schemas)
    assert at.endswith(path)
    assert says in message
