"""Calls of the engines that answer texts whole: how they end, what is counted of them, and answers as JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response

from deployments.front_door.answers import CLIENT_GONE
from deployments.front_door.generation import ClientGone, unless_gone
from deployments.front_door.metrics import Metrics
from deployments.front_door.plan import Arrival, Target
from engine.encoder.request import Encoded
from engine.errors import DeadlineExceeded, EngineFailed, Overloaded
from engine.seq2seq.request import Translated

MANY_TEXTS = 256
"""The metrics of more texts than this are counted in a thread, so that other requests go on meanwhile."""

R = TypeVar("R", Encoded, Translated)


async def json_answer(request: Request, headers: Mapping[str, str], work: Coroutine[Any, Any, bytes]) -> Response:
    """The JSON that `work` comes to; it is cancelled when the caller leaves. The body must have been read."""
    try:
        content = await unless_gone(request.receive, work)
    except ClientGone:
        return Response(status_code=CLIENT_GONE)
    return Response(content, media_type="application/json", headers=headers)


async def run_texts(
    target: Target[Any],
    arrival: Arrival,
    metrics: Metrics,
    sizes: Sequence[int],
    call: Awaitable[tuple[R, ...]],
    ending: Callable[[R], str] = lambda _: "stop",
) -> tuple[R, ...]:
    """Await an engine's results for texts of `sizes` tokens, and count them; `ending` tells how one ended.

    Raises the first error among them.
    """
    name, variant = target.model.name, target.variant
    counted = metrics.calls(name, variant)
    try:
        results = await call
        for result in results:
            if result.error is not None:
                raise result.error
        if len(results) != len(sizes):
            raise EngineFailed(f"The engine gave {len(results)} results for {len(sizes)} texts.")
    except BaseException as error:
        counted.outcomes["abort" if isinstance(error, asyncio.CancelledError) else "error"].inc(len(sizes))
        if isinstance(error, Overloaded | DeadlineExceeded):
            metrics.rejected(name, variant, "overloaded" if isinstance(error, Overloaded) else "deadline")
        raise
    latency = time.perf_counter() - arrival.started

    def count() -> None:
        for size, result in zip(sizes, results, strict=True):
            counted.answered(size, latency, result.queue_s, result.run_s)
            counted.outcomes[ending(result)].inc()

    if len(sizes) > MANY_TEXTS:
        await asyncio.to_thread(count)
    else:
        count()
    return results
