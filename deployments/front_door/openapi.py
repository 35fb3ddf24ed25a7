"""The bodies' schemas in `/openapi.json`: endpoints read their bodies themselves, so FastAPI does not see them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from deployments.front_door.schemas.base import Body

_PLACE = "#/components/schemas/{model}"


def takes(kind: type[Body]) -> dict[str, Any]:
    """For `openapi_extra` of a route: its request body is JSON of this kind."""
    schema = {"$ref": _PLACE.format(model=kind.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_bodies(app: FastAPI, kinds: list[type[Body]]) -> None:
    """Put the schemas of `kinds` where `takes` refers to."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            page = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _, defined = models_json_schema([(kind, "validation") for kind in kinds], ref_template=_PLACE)
            page.setdefault("components", {}).setdefault("schemas", {}).update(defined["$defs"])
            app.openapi_schema = page
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
