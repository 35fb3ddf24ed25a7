"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from deployments.front_door.answers import answer
from deployments.front_door.body import json_body
from deployments.front_door.openapi import takes
from deployments.front_door.plan import FrontDoor, arrive, find_model, plan_jobs
from deployments.front_door.prompts import chat_prompt
from deployments.front_door.routed import generation_demand, routed
from deployments.front_door.sampling import base_sampling
from deployments.front_door.schemas.chat import ChatBody
from deployments.front_door.served_models import GenerationModel

Body = Annotated[ChatBody, Depends(json_body(ChatBody))]


def router(door: FrontDoor) -> APIRouter:
    """The endpoint of chats."""
    routes = APIRouter(tags=["generation"])

    @routes.post("/v1/chat/completions", openapi_extra=takes(ChatBody))
    async def create_chat_completion(request: Request, body: Body) -> Response:
        """Answer a conversation."""
        arrival = arrive(request)
        named = find_model(door.service, request, body.model, GenerationModel)
        shared = base_sampling(body, named.model, door.service.limits)
        prompt = await chat_prompt(
            named.model,
            body.messages,
            door.service.limits,
            add_generation_prompt=body.add_generation_prompt,
            add_special_tokens=body.add_special_tokens,
            extra=body.chat_template_kwargs,
        )
        target = routed(door, named, request, body, generation_demand(body, named.model, [prompt]))
        plan = plan_jobs(body, target, arrival, shared, [prompt])
        return await answer(request, body, plan, door.metrics, chat=True)

    return routes
