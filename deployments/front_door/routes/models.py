"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from deployments.access.caller import Caller, caller_in
from deployments.front_door.plan import FrontDoor
from deployments.front_door.served_models import ServedModel
from deployments.variants import VariantInfo, find_variant, split_model_name


def _card(model: ServedModel, variant: str | None, caller: Caller) -> dict[str, Any]:
    return {
        "id": model.name if variant is None else f"{model.name}:{variant}",
        "object": "model",
        "created": model.created,
        "owned_by": "stageline",
        "root": model.name,
        "parent": None if variant is None else model.name,
        "max_model_len": model.max_model_len,
        "task": model.task,
        "variants": [
            _shown(one) for one in caller.variants(model.name, model.router.variants) if variant in (None, one.name)
        ],
    }


def _shown(variant: VariantInfo) -> dict[str, Any]:
    """`quality` is the share of the model's quality that the variant keeps, `speedup` how many times as fast as fp32 it
    was measured to be; null where nobody knows."""
    return {
        "name": variant.name,
        "state": variant.state,
        "quality": variant.retained,
        "speedup": variant.speedup,
        "measured": variant.measured,
        "replicas": variant.replicas,
    }


def router(door: FrontDoor) -> APIRouter:
    """The endpoints that list models. Plain names come first: clients like to take the first one."""
    routes = APIRouter(tags=["models"])

    @routes.get("/v1/models")
    async def list_models(request: Request) -> dict[str, Any]:
        """All models that the caller may use, then each of their variants by its full name."""
        caller = caller_in(request.scope)
        models = list(caller.models(door.service.models).values())
        plain = [_card(model, None, caller) for model in models]
        pinned = [
            _card(model, variant.name, caller)
            for model in models
            for variant in caller.variants(model.name, model.variants)
        ]
        return {"object": "list", "data": plain + pinned}

    @routes.get("/v1/models/{model_id:path}")
    async def show_model(request: Request, model_id: str) -> dict[str, Any]:
        """One model, or one variant of it."""
        caller = caller_in(request.scope)
        models = caller.models(door.service.models)
        name, pinned = split_model_name(model_id, models)
        model = models[name]
        if pinned is not None:
            find_variant(name, caller.variants(name, model.variants), pinned)
        return _card(model, pinned, caller)

    return routes
