"""Runs texts through an encoder: classification and embeddings share all of it but their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from deployments.front_door.deadline import in_time
from deployments.front_door.encoder_inputs import Reading, read_inputs
from deployments.front_door.plan import Arrival, FrontDoor, Target
from deployments.front_door.schemas.inputs import Item
from deployments.front_door.served_models import EncoderModel
from deployments.front_door.text_calls import run_texts
from engine.encoder.request import EncodeRequest
from engine.errors import EngineFailed

E = TypeVar("E", bound=EncoderModel)

LARGE_ANSWER = 8192
"""Answers of more numbers than this are written in a thread."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """One vector for each text, fp32 (width,), all finite, and the tokens that all texts have together."""

    values: tuple[NDArray[np.float32], ...]
    prompt_tokens: int

    def usage(self) -> dict[str, int]:
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens, "completion_tokens": 0}


async def encode(
    door: FrontDoor,
    target: Target[E],
    arrival: Arrival,
    call_id: str,
    items: Sequence[Item],
    reading: Reading,
    *,
    width: int,
    priority: int,
) -> Vectors:
    """Compute a vector of `width` values for each text. Raises `InvalidRequest`, `DeadlineExceeded` and what the
    engine raises."""
    model = target.model
    async with in_time(target, arrival, door.metrics):
        inputs = await read_inputs(model, items, reading, door.service.limits)
        requests = tuple(
            EncodeRequest(
                id=f"{call_id}-{index}",
                tokens=one.tokens,
                types=one.types,
                priority=priority,
                arrival_s=arrival.wall_s,
                deadline_s=arrival.deadline_s,
            )
            for index, one in enumerate(inputs)
        )
        sizes = [len(one.tokens) for one in inputs]
        results = await run_texts(target, arrival, door.metrics, requests, sizes, model.encode)
    values = []
    for result in results:
        if result.values is None or result.values.shape != (width,) or not np.isfinite(result.values).all():
            raise EngineFailed("The model computed something else than finite numbers, one for each output.")
        values.append(result.values)
    return Vectors(tuple(values), sum(sizes))


async def write(rows: Sequence[Any], numbers: int, entry: Callable[[int, Any], Any]) -> bytes:
    """A JSON list with `entry(index, row)` for each row; `numbers` is how many of them it takes."""

    def text() -> bytes:
        # Row by row, so that a thread leaves the event loop its turns.
        return b"[" + b",".join([to_json(entry(index, row)) for index, row in enumerate(rows)]) + b"]"

    return await asyncio.to_thread(text) if numbers > LARGE_ANSWER else text()
