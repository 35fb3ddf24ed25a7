from __future__ import annotations

from typing import Any

import pytest

from deployments.k8s.labels import matches

LABELS = {"app": "a", "part": "head"}


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ({}, True),
        ({"matchLabels": {"app": "a"}}, True),
        ({"matchLabels": {"app": "a", "part": "worker"}}, False),
        ({"matchExpressions": [{"key": "part", "operator": "In", "values": ["head", "worker"]}]}, True),
        ({"matchExpressions": [{"key": "part", "operator": "NotIn", "values": ["head"]}]}, False),
        ({"matchExpressions": [{"key": "other", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "other", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_selectors(selector: dict[str, Any], chosen: bool) -> None:
    assert matches(selector, LABELS) is chosen
