"""What a JSON schema must be before it is compiled: readable, not too deep, and free of rules that would be dropped.

xgrammar passes over keywords that a grammar cannot express. An answer that breaks the caller's schema is worse than a
refusal, so those are refused here, by name and place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from engine.errors import InvalidRequest

MAX_DEPTH = 64  # of nested JSON values
_UNSUPPORTED = {"not", "if", "then", "else", "contains", "minContains", "maxContains", "dependencies"}
_UNSUPPORTED |= {"dependentRequired", "dependentSchemas", "$dynamicRef", "$recursiveRef"}
_NEED_TYPE = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_NEED_TYPE |= {"minLength", "maxLength", "pattern"}
_COMBINING = ("$ref", "anyOf", "oneOf", "allOf")
# What may stand beside $ref and the like; anything else there would be dropped.
_BESIDE = {"type", "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"}
_BESIDE |= {"nullable", "discriminator", "$schema", "$id", "$comment", "$defs", "definitions"}
_ONE = (
    "items",
    "additionalItems",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "propertyNames",
)
_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions")


def check_json_schema(source: str) -> None:
    """Raise InvalidRequest, naming what is wrong, unless the schema can be held to as a whole (as far as can be told
    before it is compiled)."""
    try:
        schema = json.loads(source, parse_constant=_refuse_constant)
    except RecursionError:
        raise _invalid(f"it is nested more than {MAX_DEPTH} levels deep") from None
    except ValueError as error:
        raise _invalid(f"it is not JSON: {error}") from None
    if not isinstance(schema, dict | bool):
        raise _invalid("a schema must be an object (or true)")
    if _depth(schema) > MAX_DEPTH:
        raise _invalid(f"it is nested more than {MAX_DEPTH} levels deep")
    todo = [("#", schema)]
    while todo:
        path, node = todo.pop()
        if isinstance(node, dict):
            _check_node(path, node)
            todo += _children(path, node)


def _check_node(path: str, node: dict[str, Any]) -> None:
    for key in node.keys() & _UNSUPPORTED:
        raise _invalid(f"{key!r} at {path} is not supported; leave it out")
    if node.get("uniqueItems"):
        raise _invalid(f"'uniqueItems' at {path} is not supported; leave it out")
    reference = node.get("$ref")
    if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
        raise _invalid(f"$ref {reference!r} at {path} must point into the schema itself, as in '#/$defs/name'")
    if isinstance(node.get("allOf"), list) and len(node["allOf"]) > 1:
        raise _invalid(f"'allOf' with several schemas at {path} is not supported; merge them into one")
    for key in _COMBINING:
        if key in node and (dropped := sorted(node.keys() - _BESIDE - {key})):
            raise _invalid(f"{dropped[0]!r} beside {key!r} at {path} is not supported; move it into the schemas there")
    if "type" not in node and not node.keys() & {"enum", "const"} and (untyped := sorted(node.keys() & _NEED_TYPE)):
        raise _invalid(f"{untyped[0]!r} at {path} needs a 'type' beside it")
    if "pattern" in node and node.keys() & {"minLength", "maxLength"}:
        raise _invalid(f"'pattern' together with a length at {path} is not supported; put the length into the pattern")
    required, properties = node.get("required"), node.get("properties", {})
    if required is not None and not (isinstance(required, list) and all(isinstance(name, str) for name in required)):
        raise _invalid(f"'required' at {path} must be a list of names")
    if isinstance(properties, dict) and (unknown := [name for name in required or () if name not in properties]):
        raise _invalid(f"required property {unknown[0]!r} at {path} is not among its 'properties'")


def _children(path: str, node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _ONE:
        if key in node:
            yield f"{path}/{key}", node[key]
    for key in _MANY:
        if isinstance(node.get(key), list):
            yield from ((f"{path}/{key}/{index}", child) for index, child in enumerate(node[key]))
    for key in _NAMED:
        if isinstance(node.get(key), dict):
            yield from ((f"{path}/{key}/{name}", child) for name, child in node[key].items())


def _depth(value: Any) -> int:
    """Levels of nesting, without recursion."""
    level, depth = [value], 0
    while level:
        depth += 1
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        level = inner
    return depth


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(f"This JSON schema cannot be used: {reason}.", param="response_format")
