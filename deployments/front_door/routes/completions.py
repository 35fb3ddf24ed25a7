"""`POST /v1/completions`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from deployments.front_door.answers import answer
from deployments.front_door.body import json_body
from deployments.front_door.openapi import takes
from deployments.front_door.plan import FrontDoor, arrive, find_model, plan_jobs
from deployments.front_door.prompts import completion_prompts
from deployments.front_door.routed import generation_demand, routed
from deployments.front_door.sampling import base_sampling
from deployments.front_door.schemas.completions import CompletionBody
from deployments.front_door.served_models import GenerationModel

Body = Annotated[CompletionBody, Depends(json_body(CompletionBody))]


def router(door: FrontDoor) -> APIRouter:
    """The endpoint of plain completions."""
    routes = APIRouter(tags=["generation"])

    @routes.post("/v1/completions", openapi_extra=takes(CompletionBody))
    async def create_completion(request: Request, body: Body) -> Response:
        """Continue a prompt."""
        arrival = arrive(request)
        named = find_model(door.service, request, body.model, GenerationModel)
        shared = base_sampling(body, named.model, door.service.limits)
        prompts = await completion_prompts(named.model, body, door.service.limits)
        target = routed(door, named, request, body, generation_demand(body, named.model, prompts))
        plan = plan_jobs(body, target, arrival, shared, prompts)
        return await answer(request, body, plan, door.metrics, chat=False)

    return routes
