"""`POST /admin/profile`: what one replica and all its stages do for some seconds, as a Chrome trace."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from deployments.front_door.body import json_body
from deployments.front_door.openapi import takes
from deployments.front_door.plan import FrontDoor
from deployments.front_door.schemas.profile import ProfileBody
from deployments.profiles.ask import ProfileAsk
from engine.errors import EngineFailed

ProfileRequest = Annotated[ProfileBody, Depends(json_body(ProfileBody))]


def router(door: FrontDoor) -> APIRouter:
    """The endpoint that takes profiles."""
    routes = APIRouter(tags=["debugging"])

    @routes.post("/admin/profile", openapi_extra=takes(ProfileBody))
    async def profile(body: ProfileRequest) -> Response:
        """A trace for ui.perfetto.dev or chrome://tracing, gzipped. 409 while another one is being taken."""
        if door.service.profile is None:
            raise EngineFailed("No replica can be asked from here.")
        asked = ProfileAsk(body.seconds, body.model, body.variant, body.replica)
        trace = await door.service.profile(asked)
        return Response(trace, media_type="application/json", headers={"Content-Encoding": "gzip"})

    return routes
