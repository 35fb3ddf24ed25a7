from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from deployments.k8s.schemas.openapi import json_schema, with_defaults

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["count"],
    "properties": {
        "count": {"type": "integer", "format": "int32", "default": 1},
        "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "since": {"type": "string", "nullable": True},
        "name": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"a": {"type": "string"}},
        },
        "items": {
            "type": "array",
            "items": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}},
        },
    },
}


def errors(data: Any) -> list[str]:
    validator = Draft202012Validator(json_schema(SCHEMA))
    return [error.message for error in validator.iter_errors(with_defaults(SCHEMA, data))]


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"port": 80},
        {"port": "http"},
        {"since": None},
        {"name": None},  # Kubernetes drops it
        {"labels": {"any": "thing"}},
        {"free": {"b": 1}},
        {"items": [{}, {"a": "y"}]},
    ],
)
def test_what_kubernetes_takes_is_good(good: Any) -> None:
    assert errors(good) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"cuont": 1},
        {"count": "1"},
        {"count": 2**31},
        {"port": 1.5},
        {"labels": {"a": 1}},
        {"free": {"a": 1}},
        {"items": [{"b": "y"}]},
    ],
)
def test_typos_and_other_types_are_not(bad: Any) -> None:
    assert len(errors(bad)) == 1


def test_defaults_are_filled_in_as_deep_as_they_lie() -> None:
    assert with_defaults(SCHEMA, {"items": [{}]}) == {"items": [{"a": "x"}], "count": 1}
