"""Calls of the engines that answer texts whole: how they end, what is counted of them, and answers as JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response

from deployments.front_door.answers import CLIENT_GONE
from deployments.front_door.generation import ClientGone, first_error, is_used, unless_gone
from deployments.front_door.metrics import Metrics
from deployments.front_door.plan import Arrival, Target
from deployments.front_door.trail.record import CURRENT
from engine.encoder.request import Encoded, EncodeRequest
from engine.errors import DeadlineExceeded, EngineFailed, Overloaded
from engine.seq2seq.request import Translated, TranslateRequest

MANY_TEXTS = 256
"""The metrics of more texts than this are counted in a thread, so that other requests go on meanwhile."""

GROUP = 128
GROUPS_AT_ONCE = 2
"""A request of many texts goes to the engine in groups, the next one while one is at work, so that it neither fills the
engine's queue, which is shorter than a request may be, nor holds up all who come after it."""

Q = TypeVar("Q", EncodeRequest, TranslateRequest)
R = TypeVar("R", Encoded, Translated)
Call = Callable[[str, tuple[Q, ...]], Awaitable[Sequence[R]]]


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
    requests: tuple[Q, ...],
    sizes: Sequence[int],
    call: Call[Q, R],
    ending: Callable[[R], str] = lambda _: "stop",
) -> tuple[R, ...]:
    """Have an engine answer `requests`, texts of `sizes` tokens, and count them; `ending` tells how one ended.

    When one fails, the others are aborted. Raises what the engine raises.
    """
    name, variant = target.model.name, target.variant
    counted = metrics.calls(name, variant)
    begun: set[int] = set()

    def used(start: int) -> None:
        target.caller.read(sum(sizes[start : start + GROUP]), start)

    async def answered(start: int, group: tuple[Q, ...]) -> tuple[R, ...]:
        begun.add(start)
        found = await _checked(call, variant, group)
        used(start)
        return found

    try:
        results = await _in_groups(requests, answered)
    except BaseException as error:
        if is_used(error):
            for start in begun:
                used(start)
        counted.outcomes["abort" if isinstance(error, asyncio.CancelledError) else "error"].inc(len(sizes))
        if isinstance(error, Overloaded | DeadlineExceeded):
            metrics.rejected(name, variant, "overloaded" if isinstance(error, Overloaded) else "deadline")
        raise
    latency = time.perf_counter() - arrival.started
    parts = metrics.objective(name, variant, target.model.objective).answered(latency)  # one, however many texts
    if (record := CURRENT.get()) is not None:
        record.answered(parts, latency)
        record.prompt_tokens = sum(sizes)

    def count() -> None:
        for size, result in zip(sizes, results, strict=True):
            counted.answered(size, latency, result.queue_s, result.run_s)
            counted.outcomes[ending(result)].inc()

    if len(sizes) > MANY_TEXTS:
        await asyncio.to_thread(count)
    else:
        count()
    return results


async def _in_groups(
    requests: tuple[Q, ...], call: Callable[[int, tuple[Q, ...]], Awaitable[tuple[R, ...]]]
) -> tuple[R, ...]:
    """`call` is given each group, and the place of its first text."""
    if len(requests) <= GROUP:
        return await call(0, requests)
    places = asyncio.Semaphore(GROUPS_AT_ONCE)

    async def answered(start: int) -> tuple[R, ...]:
        async with places:
            return await call(start, requests[start : start + GROUP])

    try:
        async with asyncio.TaskGroup() as tasks:
            found = [tasks.create_task(answered(start)) for start in range(0, len(requests), GROUP)]
    except BaseExceptionGroup as group_error:
        raise first_error(group_error) from None
    return tuple(result for task in found for result in task.result())


async def _checked(call: Call[Q, R], variant: str, requests: tuple[Q, ...]) -> tuple[R, ...]:
    results = await call(variant, requests)
    for result in results:
        if result.error is not None:
            raise result.error
    if len(results) != len(requests):
        raise EngineFailed(f"The engine gave {len(results)} results for {len(requests)} texts.")
    return tuple(results)
