"""The bodies' schemas in `/openapi.json`: endpoints read their bodies themselves, so FastAPI does not see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from deployments.front_door.schemas.base import Body

_PLACE = "#/components/schemas/{model}"


def takes(kind: type[Body], *media_types: str) -> dict[str, Any]:
    """For `openapi_extra` of a route: its request body is JSON of this kind, or one of other `media_types`."""
    schema = {"$ref": _PLACE.format(model=kind.__name__)}
    content = {media_type: {"schema": schema} for media_type in ("application/json", *media_types)}
    return {"requestBody": {"required": True, "content": content}}


def describe_bodies(app: FastAPI, kinds: Sequence[type[Body]]) -> None:
    """Put the schemas of `kinds` where `takes` refers to."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            page = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _, defined = models_json_schema([(kind, "validation") for kind in kinds], ref_template=_PLACE)
            page.setdefault("components", {}).setdefault("schemas", {}).update(defined["$defs"])
            app.openapi_schema = page
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
