"""Every rule finds its mistake, and only its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deployments.k8s.check import check
from deployments.k8s.dockerfiles import Image
from deployments.k8s.facts import with_secrets
from deployments.k8s.objects import KubeObject
from deployments.k8s.rules import AGREEING, ALONE, described
from deployments.k8s.targets import Target
from tests.deployments.k8s.good import FACTS, container, findings, good, head, pod, service_of, worker
from tests.deployments.k8s.mistakes import ALL, Planted
from tests.deployments.k8s.mistakes.planted import autoscaler_token

# Their own tests are below.
ELSEWHERE = {"kuberay-container", "image-ports"}


def test_nothing_is_wrong_with_the_good_objects() -> None:
    assert [str(finding) for finding in findings(good())] == []


@pytest.mark.parametrize("planted", ALL, ids=[f"{one.rule}: {one.says}" for one in ALL])
def test_a_mistake_is_found_by_its_rule_and_no_other(planted: Planted) -> None:
    documents = good()
    planted.change(documents)
    found = findings(documents)
    assert {finding.rule for finding in found} == {planted.rule}, [str(finding) for finding in found]
    assert any(planted.says in finding.message for finding in found), [str(finding) for finding in found]


def test_a_component_by_itself_does_not_say_how_many_front_doors_there_are() -> None:
    documents = good()
    documents[0]["spec"]["excludeHeadPodFromServeSvc"] = True
    component = Target("component", Path("component"), base=Path("base"))
    objects = [KubeObject(one) for one in documents]
    assert check(objects, FACTS, without=component.unsaid) == []
    assert {one.rule for one in check(objects, FACTS, without=Target("overlay", Path("overlay")).unsaid)} == {
        "front-doors"
    }


def test_every_rule_has_a_mistake() -> None:
    assert {*ALONE, *AGREEING} - {one.rule for one in ALL} == ELSEWHERE


def test_a_group_without_a_container_has_many_things_wrong() -> None:
    documents = good()
    pod(worker(documents))["containers"] = []
    assert "kuberay-container" in {finding.rule for finding in findings(documents)}


def test_images_expose_the_port_of_the_front_door() -> None:
    facts = replace(FACTS, images=(Image("cpu", "10001:10001", (9000,), {}),))
    found = findings(good(), facts)
    assert {finding.rule for finding in found} == {"image-ports"}
    assert "exposes (9000,), not 8000" in found[0].message


def test_images_are_wanted_by_digest_on_request() -> None:
    documents = good()
    container(worker(documents))["image"] = f"stageline@sha256:{'0' * 64}"
    found = check([KubeObject(one) for one in documents], FACTS, digests=True)
    assert {finding.rule for finding in found} == {"image-digest"}
    assert not any("workerGroupSpecs" in finding.path and finding.object.startswith("RayService") for finding in found)


def test_images_that_are_mounted_are_wanted_by_digest_too() -> None:
    documents = good()
    digest = f"@sha256:{'0' * 64}"
    for volume, name in ((0, "models:1.0"), (1, f"models{digest}")):
        pod(worker(documents))["volumes"].append({"name": f"v{volume}", "image": {"reference": name}})
    found = [one for one in check([KubeObject(one) for one in documents], FACTS, digests=True) if "volumes" in one.path]
    assert [(one.rule, one.path.rpartition("spec.")[2]) for one in found] == [
        ("image-digest", "volumes[1].image.reference")
    ]


def test_a_token_for_the_autoscaler_alone_is_good() -> None:
    documents = good()
    autoscaler_token(documents)
    assert [str(finding) for finding in findings(documents)] == []


def test_the_head_may_be_asked_whether_it_reaches_the_gcs() -> None:
    documents = good()
    container(head(documents))["livenessProbe"]["httpGet"]["path"] = "/api/healthz"
    assert [str(finding) for finding in findings(documents)] == []


def test_secrets_that_are_said_to_be_made_are_known() -> None:
    documents = good()
    service_of(documents)["rayClusterConfig"]["authOptions"]["secretName"] = "ray-token-2"
    facts = with_secrets(FACTS, ["ray-token-2=auth_token"])
    assert [str(finding) for finding in findings(documents, facts)] == []
    [found] = findings(documents, with_secrets(FACTS, ["ray-token-2=token"]))
    assert "the Secret ray-token-2 has no key auth_token" in found.message


def test_every_rule_says_what_it_wants() -> None:
    assert all(len(text) > 20 for text in described().values())
