from __future__ import annotations

import json
from typing import Any

import pytest

from engine.errors import InvalidRequest
from engine.sampling.json_schema import MAX_DEPTH, check_json_schema

INTEGER = {"type": "integer"}


def nested(depth: int) -> str:
    return '{"items": ' * (depth - 1) + "{}" + "}" * (depth - 1)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        INTEGER,
        {"type": "object", "properties": {"not": INTEGER, "if": {"enum": ["then"]}}, "required": ["not"]},
        {"$defs": {"a": INTEGER}, "$ref": "#/$defs/a", "title": "A", "description": "an integer"},
        {"anyOf": [INTEGER, {"type": "null"}], "default": None},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": INTEGER}},
        {"type": "array", "items": INTEGER, "uniqueItems": False},
        {"enum": [{"not": 1, "uniqueItems": True}]},
        {"type": "string", "pattern": "^a+$"},
    ],
)
def test_what_can_be_held_to_passes(schema: Any) -> None:
    check_json_schema(json.dumps(schema))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"properties": {"a": {"not": INTEGER}}}, "'not' at #/properties/a "),
        ({"items": {"if": INTEGER}}, "'if' at #/items "),
        ({"$defs": {"x": {"uniqueItems": True}}}, r"'uniqueItems' at #/\$defs/x "),
        ({"anyOf": [INTEGER, {"contains": INTEGER}]}, "'contains' at #/anyOf/1 "),
        ({"allOf": [INTEGER, {"type": "string"}]}, "'allOf' with several"),
        ({"$ref": "http://example.com/schema"}, "must point into the schema itself"),
        ({"$ref": "#anchor"}, "must point into the schema itself"),
        ({"anyOf": [INTEGER], "minimum": 3}, "'minimum' beside 'anyOf' at # "),
        ({"$ref": "#/$defs/a", "properties": {}}, r"'properties' beside '\$ref'"),
        ({"minLength": 3}, "'minLength' at # needs a 'type'"),
        ({"type": "string", "pattern": "a", "maxLength": 3}, "'pattern' together with a length"),
        ({"type": "object", "required": ["a"]}, "'a' at # is not among its 'properties'"),
        ({"type": "object", "required": "a"}, "must be a list of names"),
        ([], "must be an object"),
        (3, "must be an object"),
        (None, "must be an object"),
    ],
)
def test_what_would_be_dropped_is_refused_by_name_and_place(schema: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        check_json_schema(json.dumps(schema))
    assert caught.value.param == "response_format"


@pytest.mark.parametrize("source", ["", "{", "{'a': 1}", '{"a": NaN}', "{} {}", "\x00"])
def test_what_is_not_json_is_refused(source: str) -> None:
    with pytest.raises(InvalidRequest, match="not JSON"):
        check_json_schema(source)


def test_depth_is_limited() -> None:
    check_json_schema(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 5000):
        with pytest.raises(InvalidRequest, match="levels deep"):
            check_json_schema(nested(depth))
    with pytest.raises(InvalidRequest, match="levels deep"):
        check_json_schema("[" * 60_000)
