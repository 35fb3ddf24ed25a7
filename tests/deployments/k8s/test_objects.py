from __future__ import annotations

import pytest

from deployments.k8s.objects import get, load_objects, mapping, mappings, sequence
from engine.errors import ConfigError

TWO = """
apiVersion: v1
kind: Service
metadata: {name: a, annotations: {day: 2026-01-01}}
---
---
apiVersion: v1
kind: List
items:
  - {apiVersion: apps/v1, kind: Deployment, metadata: {name: b}}
"""


def test_documents_and_lists_become_objects() -> None:
    first, second = load_objects(TWO, "x")
    assert (first.label, first.group, second.label, second.group) == ("Service/a", "", "Deployment/b", "apps")
    assert get(first.data, "metadata.annotations.day") == "2026-01-01"  # no date, as Kubernetes has none


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "x: not valid YAML"),
        ("apiVersion: v1", "no kind"),
        ("- 1", "no Kubernetes object"),
        ("apiVersion: v1\nkind: A\nspec: {a: 1, a: 2}", "a is there twice"),
    ],
)
def test_what_is_no_object_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_objects(text, "x")


def test_paths_lead_to_values_or_to_nothing() -> None:
    data = {"spec": {"items": [{"a": 1}, 2], "none": None, "text": "x"}}
    assert get(data, "spec.text") == "x"
    assert get(data, "spec.none", "default") == "default"
    assert get(data, "spec.text.more") is None
    assert mapping(data, "spec.items") == {}
    assert sequence(data, "spec.text") == ()
    assert list(mappings(data, "spec.items")) == [("spec.items[0]", {"a": 1})]
