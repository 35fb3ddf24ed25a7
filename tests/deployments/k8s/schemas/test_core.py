from __future__ import annotations

import pytest

from deployments.k8s.objects import KubeObject
from deployments.k8s.schemas.core import core_schema, is_core, pod_schema, supported_versions
from engine.errors import ConfigError
from tests.deployments.k8s.good import good, job

OBJECTS = [KubeObject(document) for document in good()]


def test_versions_are_sorted_as_numbers() -> None:
    versions = supported_versions()
    assert "1.35" in versions
    assert versions == sorted(versions, key=lambda version: [int(part) for part in version.split(".")])


def test_every_known_version_takes_the_good_objects() -> None:
    for version in supported_versions()[-3:]:
        assert [*core_schema(OBJECTS, version), *pod_schema(OBJECTS, version)] == []


def test_an_unknown_version_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"no schemas of Kubernetes 9\.9; known here: .*1\.35"):
        list(core_schema(OBJECTS, "9.9"))


def test_custom_resources_are_left_to_others() -> None:
    assert {one.kind for one in OBJECTS if not is_core(one)} == {
        "RayService",
        "RayJob",
        "RayCluster",
        "PodMonitor",
        "PrometheusRule",
        "Gateway",
    }


def test_each_error_is_told_with_its_place() -> None:
    document = job()
    document["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    document["spec"]["backofLimit"] = 1
    found = {(fault.path, fault.message) for fault in core_schema([KubeObject(document)], "1.35")}
    assert found == {
        ("spec", "there is no field backofLimit here"),
        ("spec.template.spec.containers[0]", "there is no field imagePulPolicy here"),
    }
