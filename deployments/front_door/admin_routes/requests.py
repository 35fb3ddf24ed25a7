"""`GET /admin/requests` and `GET /admin/requests/{id}`: what happened to recent requests. Never their texts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Query as Parameter

from deployments.front_door.errors import RecordNotFound
from deployments.front_door.plan import FrontDoor
from deployments.front_door.trail.asking import asked_of_all
from deployments.front_door.trail.ring import LISTED, RECENT, Query, Which
from deployments.front_door.trail.stages import with_stages


def router(door: FrontDoor) -> APIRouter:
    """The endpoints of requests."""
    routes = APIRouter(tags=["requests"])

    @routes.get("/admin/requests")
    async def list_requests(
        which: Which = "all", model: str = "", limit: Annotated[int, Parameter(ge=1, le=RECENT)] = LISTED
    ) -> dict[str, Any]:
        """The latest requests of all front doors, latest first: all that have ended, those that were slow or failed,
        or those that are open."""
        question = Query(which, model, limit)
        return {"requests": await asked_of_all(door.ring, door.service.trails_elsewhere, question)}

    @routes.get("/admin/requests/{request_id:path}")
    async def show_request(request_id: str) -> dict[str, Any]:
        """All that is known of a request: where its time went, why it got its variant, which replicas had it, and
        what the stages of one that is a pipeline did meanwhile."""
        found = await asked_of_all(door.ring, door.service.trails_elsewhere, request_id)
        if not found:
            raise RecordNotFound(
                f"No request '{request_id[:128]}' is remembered. It is the answer's X-Request-Id header; the latest "
                f"{RECENT} are kept, slow and failed ones longer."
            )
        return await with_stages(found[0], door.service.stages)

    return routes
