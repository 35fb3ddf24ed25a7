"""`POST /classify`, as vLLM has it, and `POST /predict`, as text-embeddings-inference has it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from numpy.typing import NDArray
from pydantic_core import to_json

from deployments.front_door.body import json_body
from deployments.front_door.encoder_inputs import Reading, cut_length
from deployments.front_door.encoding import encode, write
from deployments.front_door.openapi import takes
from deployments.front_door.plan import FrontDoor, arrive, find_model
from deployments.front_door.routed import items_demand, routed
from deployments.front_door.schemas.classify import ClassifyBody, PredictBody
from deployments.front_door.scores import activated, ranked
from deployments.front_door.served_models import ClassificationModel
from deployments.front_door.text_calls import json_answer

ClassifyRequest = Annotated[ClassifyBody, Depends(json_body(ClassifyBody))]
PredictRequest = Annotated[PredictBody, Depends(json_body(PredictBody))]
Floats = NDArray[np.floating[Any]]


def router(door: FrontDoor) -> APIRouter:
    """The endpoints of classification."""
    routes = APIRouter(tags=["classification"])

    @routes.post("/classify", openapi_extra=takes(ClassifyBody))
    async def classify(request: Request, body: ClassifyRequest) -> Response:
        """The likeliest label and all labels' probabilities for each text."""
        arrival = arrive(request)
        named = find_model(door.service, request, body.model, ClassificationModel)
        model = named.model
        cut_to = cut_length(model, body.truncate_prompt_tokens, "truncate_prompt_tokens")
        reading = Reading("input", body.add_special_tokens, cut_to, body.truncation_side)
        target = routed(door, named, request, body, items_demand(body.input, cut_to))
        call_id = f"classify-{uuid.uuid4().hex}"
        width = len(model.labels)

        def entry(index: int, raw: NDArray[np.float32]) -> dict[str, Any]:
            probs: Floats = raw if body.raw else activated(model, raw)
            label = model.labels[int(probs.argmax())]
            return {"index": index, "label": label, "probs": probs.tolist(), "num_classes": width}

        async def work() -> bytes:
            found = await encode(
                door, target, arrival, call_id, body.input, reading, width=width, priority=body.priority
            )
            data = await write(found.values, width * len(found.values), entry)
            head = {"id": call_id, "object": "list", "created": int(arrival.wall_s), "model": target.asked}
            return to_json(head)[:-1] + b',"data":' + data + b',"usage":' + to_json(found.usage()) + b"}"

        return await json_answer(request, target.headers, work())

    @routes.post("/predict", openapi_extra=takes(PredictBody))
    async def predict(request: Request, body: PredictRequest) -> Response:
        """All labels with their scores, the highest first; a list of such lists for a batch."""
        arrival = arrive(request)
        named = find_model(door.service, request, body.model, ClassificationModel)
        model = named.model
        reading = Reading("inputs", True, model.max_model_len if body.truncate else None, body.truncation_direction)
        target = routed(door, named, request, body, items_demand(body.inputs.items, reading.cut_to))
        call_id = f"predict-{uuid.uuid4().hex}"
        width = len(model.labels)

        def entry(_: int, raw: NDArray[np.float32]) -> list[dict[str, float | str]]:
            return ranked(model, raw if body.raw_scores else activated(model, raw))

        async def work() -> bytes:
            found = await encode(
                door, target, arrival, call_id, body.inputs.items, reading, width=width, priority=body.priority
            )
            data = await write(found.values, width * len(found.values), entry)
            return data[1:-1] if body.inputs.single else data

        return await json_answer(request, target.headers, work())

    return routes
