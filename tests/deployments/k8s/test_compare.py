from __future__ import annotations

import copy

from deployments.k8s.compare import differences, without_namespace
from deployments.k8s.objects import KubeObject
from tests.deployments.k8s.good import Document, ray_service, worker


def compared(left: list[Document], right: list[Document]) -> list[str]:
    return differences([KubeObject(one) for one in left], [KubeObject(one) for one in right])


def test_equal_objects_do_not_differ_whatever_a_chart_adds() -> None:
    chart = ray_service()
    chart["metadata"]["labels"] = {"helm.sh/chart": "stageline-0.1.0", "app.kubernetes.io/managed-by": "Helm"}
    chart["spec"]["serveConfigV2"] = "# a remark\n" + chart["spec"]["serveConfigV2"]
    assert compared([ray_service()], [chart]) == []


def test_each_difference_is_told_with_its_place() -> None:
    other = ray_service()
    worker([other])["maxReplicas"] = 3
    del other["spec"]["upgradeStrategy"]
    at = "RayService/stageline: spec"
    assert compared([ray_service()], [other]) == [
        f"{at}.rayClusterConfig.workerGroupSpecs[0].maxReplicas: 2 and 3",
        f"{at}.upgradeStrategy is only in the first",
    ]


def test_what_is_served_is_compared_as_values() -> None:
    other = ray_service()
    other["spec"]["serveConfigV2"] = other["spec"]["serveConfigV2"].replace("port: 8000", "port: 8001")
    [line] = compared([ray_service()], [other])
    assert line == "RayService/stageline: spec.serveConfigV2.http_options.port: 8000 and 8001"


def test_objects_that_only_one_has_are_told() -> None:
    other = copy.deepcopy(ray_service())
    other["metadata"]["name"] = "other"
    assert compared([ray_service()], [other]) == [
        "RayService/stageline is only in the first",
        "RayService/other is only in the second",
    ]


def test_namespaces_can_be_left_out() -> None:
    placed = ray_service()
    placed["metadata"]["namespace"] = "stageline"
    [one] = without_namespace([KubeObject(placed)])
    assert one.data["metadata"] == {"name": "stageline"}
