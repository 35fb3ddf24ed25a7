"""Schemas of custom resources, as JSON Schema's validator takes them.

Kubernetes writes a dialect of OpenAPI: `nullable`, `x-kubernetes-int-or-string`, defaults that its server fills in
before it validates, and unknown fields that it drops without a word unless they are to be kept. Here unknown fields are
errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Keywords of Kubernetes' own, which say nothing to the validator.
_OPEN = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_WIDTHS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema in JSON Schema's words, strict about unknown fields."""
    result: dict[str, Any] = {}
    for key, value in schema.items():
        match key:
            case "properties":
                result[key] = {name: json_schema(one) for name, one in value.items()}
            case "items" | "not":
                result[key] = json_schema(value)
            case "additionalProperties" if isinstance(value, Mapping):
                result[key] = json_schema(value)
            case "anyOf" | "oneOf" | "allOf":
                # Parts of the schema around them, not whole objects: they close nothing.
                result[key] = [_part(one) for one in value]
            case _:
                result[key] = value
    if schema.get(_INT_OR_STRING):
        result["type"] = ["integer", "string"]
        result.pop("anyOf", None)  # the same in other words
    if schema.get("nullable") and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    if schema.get("type") == "integer" and schema.get("format") in _WIDTHS:
        least, most = _WIDTHS[schema["format"]]
        result.setdefault("minimum", least)
        result.setdefault("maximum", most)
    if "properties" in schema and "additionalProperties" not in schema and not schema.get(_OPEN):
        result["additionalProperties"] = False
    return result


def _part(schema: Mapping[str, Any]) -> dict[str, Any]:
    part = json_schema(schema)
    if part.get("additionalProperties") is False and "additionalProperties" not in schema:
        del part["additionalProperties"]
    return part


def with_defaults(schema: Mapping[str, Any], data: Any) -> Any:
    """A copy of `data` with the schema's own defaults where something is missing, as Kubernetes fills them in; and with
    fields left out that are null and have no leave to be, as it does with those."""
    if isinstance(data, Mapping):
        properties = schema.get("properties", {})
        more = schema.get("additionalProperties")
        filled = {}
        for key, value in data.items():
            below = properties.get(key, more if isinstance(more, Mapping) else {})
            if value is None and key in properties and not below.get("nullable"):
                continue
            filled[key] = with_defaults(below, value)
        for key, below in properties.items():
            if key not in filled and "default" in below:
                filled[key] = below["default"]
        return filled
    if isinstance(data, list):
        return [with_defaults(schema.get("items", {}), value) for value in data]
    return data
