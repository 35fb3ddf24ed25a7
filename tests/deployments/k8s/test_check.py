"""Every rule finds its mistake, and only its own."""

from __future__ import annotations

import pytest

from deployments.k8s.rules import AGREEING, ALONE, described
from tests.deployments.k8s.good import findings, good
from tests.deployments.k8s.mistakes import ALL, Planted

# What the good objects cannot have wrong: the rule's own test says why.
ELSEWHERE = {"kuberay-container", "kuberay-tls", "kuberay-network-policy", "front-doors", "image-ports"}


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


def test_every_rule_says_what_it_wants() -> None:
    assert all(len(text) > 20 for text in described().values())
