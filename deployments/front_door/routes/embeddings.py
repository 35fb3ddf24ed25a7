"""`POST /v1/embeddings`, as OpenAI has it, and `POST /embed`, as text-embeddings-inference has it."""

from __future__ import annotations

import base64
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
from deployments.front_door.schemas.embeddings import EmbedBody, EmbeddingsBody
from deployments.front_door.served_models import EmbeddingModel
from deployments.front_door.text_calls import json_answer
from engine.errors import InvalidRequest

EmbeddingsRequest = Annotated[EmbeddingsBody, Depends(json_body(EmbeddingsBody))]
EmbedRequest = Annotated[EmbedBody, Depends(json_body(EmbedBody))]
Vector = NDArray[np.float32]


def router(door: FrontDoor) -> APIRouter:
    """The endpoints of embeddings."""
    routes = APIRouter(tags=["embeddings"])

    @routes.post("/v1/embeddings", openapi_extra=takes(EmbeddingsBody))
    async def create_embeddings(request: Request, body: EmbeddingsRequest) -> Response:
        """A vector for each text."""
        arrival = arrive(request)
        named = find_model(door.service, request, body.model, EmbeddingModel)
        model = named.model
        size = _dimensions(model, body.dimensions)
        cut_to = cut_length(model, body.truncate_prompt_tokens, "truncate_prompt_tokens")
        reading = Reading("input", body.add_special_tokens, cut_to, body.truncation_side)
        target = routed(door, named, request, body, items_demand(body.input, cut_to))
        call_id = f"embd-{uuid.uuid4().hex}"
        in_base64 = body.encoding_format == "base64"
        normalize = model.normalized and size < model.dimension

        def entry(index: int, row: Vector) -> dict[str, Any]:
            row = shortened(row, size, normalize=normalize)
            shown = base64.b64encode(row.astype("<f4").tobytes()).decode() if in_base64 else row.tolist()
            return {"object": "embedding", "index": index, "embedding": shown}

        async def work() -> bytes:
            found = await encode(
                door, target, arrival, call_id, body.input, reading, width=model.dimension, priority=body.priority
            )
            data = await write(found.values, size * len(found.values), entry)
            usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
            tail = to_json({"model": target.asked, "usage": usage})
            return b'{"object":"list","data":' + data + b"," + tail[1:]

        return await json_answer(request, target.headers, work())

    @routes.post("/embed", openapi_extra=takes(EmbedBody))
    async def embed(request: Request, body: EmbedRequest) -> Response:
        """A list of vectors, also for a single text."""
        arrival = arrive(request)
        named = find_model(door.service, request, body.model, EmbeddingModel)
        model = named.model
        size = _dimensions(model, body.dimensions)
        if model.normalized and not body.normalize:
            raise InvalidRequest(
                f"The model '{model.name}' normalizes its embeddings itself. Leave 'normalize' out.", param="normalize"
            )
        reading = Reading("inputs", True, model.max_model_len if body.truncate else None, body.truncation_direction)
        target = routed(door, named, request, body, items_demand(body.inputs, reading.cut_to))
        call_id = f"embed-{uuid.uuid4().hex}"
        normalize = body.normalize and (size < model.dimension or not model.normalized)

        def entry(_: int, row: Vector) -> list[float]:
            values: list[float] = shortened(row, size, normalize=normalize).tolist()
            return values

        async def work() -> bytes:
            found = await encode(
                door, target, arrival, call_id, body.inputs, reading, width=model.dimension, priority=body.priority
            )
            return await write(found.values, size * len(found.values), entry)

        return await json_answer(request, target.headers, work())

    return routes


def _dimensions(model: EmbeddingModel, asked: int | None) -> int:
    if asked is not None and asked > model.dimension:
        raise InvalidRequest(
            f"'dimensions' is {asked:,}; the embeddings of '{model.name}' have {model.dimension:,}.",
            param="dimensions",
        )
    return model.dimension if asked is None else asked


def shortened(row: Vector, size: int, *, normalize: bool) -> Vector:
    """The first `size` values, brought to length 1 if asked to."""
    row = row[:size]
    if not normalize:
        return row
    length = float(np.sqrt(np.square(row, dtype=np.float64).sum()))
    return row if length == 0 else np.asarray(row / length, dtype=np.float32)
