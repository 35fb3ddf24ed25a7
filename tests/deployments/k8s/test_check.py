"""Every rule finds its mistake, and only its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.k8s.check import check
from deployments.k8s.dockerfiles import Image
from deployments.k8s.objects import KubeObject
from deployments.k8s.rules import AGREEING, ALONE, described
from tests.deployments.k8s.good import FACTS, container, findings, good, pod, worker
from tests.deployments.k8s.mistakes import ALL, Planted

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


def test_every_rule_says_what_it_wants() -> None:
    assert all(len(text) > 20 for text in described().values())
