"""What operators and their probes ask for: `/health`, `/ready`, `/version`, `/metrics`, `/status`."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from deployments.front_door.metrics_merge import merge
from deployments.front_door.openapi import gives
from deployments.front_door.plan import FrontDoor
from engine.errors import Overloaded


def router(door: FrontDoor) -> APIRouter:
    """The endpoints for operators."""
    routes = APIRouter(tags=["operations"])
    service = door.service

    @routes.get("/health", response_class=Response)
    async def health() -> Response:
        """The front door itself is up."""
        return Response()

    @routes.get("/ready")
    async def ready() -> dict[str, str]:
        """Every model has a replica to answer with; 503 until then."""
        if not service.ready():
            raise Overloaded("The models are still being loaded.", retry_after_s=1)
        return {"status": "ready"}

    @routes.get("/version")
    async def version() -> dict[str, str]:
        return {"version": service.version}

    @routes.get("/metrics", response_class=Response, openapi_extra=gives("text/plain"))
    async def metrics() -> Response:
        """The front doors' metrics and all replicas'."""
        texts = await service.metrics_sources()
        page = await asyncio.to_thread(merge, door.metrics.registry, texts, service.metrics_labels)
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    @routes.get("/status")
    async def status() -> dict[str, Any]:
        """Models, variants, replicas and their load."""
        return dict(await service.status())

    return routes
