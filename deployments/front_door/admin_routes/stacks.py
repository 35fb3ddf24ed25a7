"""`GET /admin/stacks`: where all threads of the front door, the replicas and their stages are."""

from __future__ import annotations

from fastapi import APIRouter

from deployments.front_door.plan import FrontDoor
from engine.stacks import stacks as stacks_here


def router(door: FrontDoor) -> APIRouter:
    """The endpoint that shows stacks."""
    routes = APIRouter(tags=["debugging"])

    @routes.get("/admin/stacks")
    async def stacks() -> dict[str, dict[str, str]]:
        """The stacks of each process by its name: files, lines and code, no values."""
        if door.service.stacks is None:
            return {"processes": {"front door": stacks_here()}}
        return {"processes": dict(await door.service.stacks())}

    return routes
