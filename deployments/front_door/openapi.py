"""What FastAPI cannot know of `/openapi.json`: the bodies' schemas, as endpoints read their bodies themselves; what
answers are that are no JSON; and that every refusal is OpenAI's error object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from deployments.front_door.schemas.base import Body

_PLACE = "#/components/schemas/{model}"
_TEXT = {"schema": {"type": "string"}}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["integer", "string"]},
            },
        }
    },
}


def takes(kind: type[Body], *media_types: str) -> dict[str, Any]:
    """For `openapi_extra` of a route: its request body is JSON of this kind, or one of other `media_types`."""
    schema = {"$ref": _PLACE.format(model=kind.__name__)}
    content = {media_type: {"schema": schema} for media_type in ("application/json", *media_types)}
    asked = {"requestBody": {"required": True, "content": content}}
    return asked | gives("text/event-stream") if "stream" in kind.model_fields else asked


def gives(media_type: str) -> dict[str, Any]:
    """For `openapi_extra` of a route: it may answer in this type too, as text."""
    return {"responses": {"200": {"content": {media_type: _TEXT}}}}


def describe_bodies(app: FastAPI, kinds: Sequence[type[Body]]) -> None:
    """Put the schemas of `kinds` where `takes` refers to."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            page = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _, defined = models_json_schema([(kind, "validation") for kind in kinds], ref_template=_PLACE)
            page.setdefault("components", {}).setdefault("schemas", {}).update(defined["$defs"])
            _describe_errors(page)
            app.openapi_schema = page
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _describe_errors(page: dict[str, Any]) -> None:
    """FastAPI's own shape of a refusal is none that is sent here."""
    content = {"application/json": {"schema": {"$ref": _PLACE.format(model="Error")}}}
    for operations in page["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            for kind, words in (("4XX", "The request is refused."), ("5XX", "The server cannot answer it.")):
                operation["responses"][kind] = {"description": words, "content": content}
    schemas = page["components"]["schemas"]
    schemas["Error"] = _ERROR
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
