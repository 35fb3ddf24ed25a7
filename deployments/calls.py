"""Calls from the front door to the replicas, and what goes wrong with them in our own errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from deployments.load import Load
from engine.errors import EngineFailed, Overloaded, StagelineError
from engine.request import Delta, Request

log = logging.getLogger(__name__)

Handles = Mapping[tuple[str, str], DeploymentHandle[Any]]  # by (model, variant)
Hear = Callable[[str, str, Load], None]  # (model, variant, a replica's load that came with an answer)

ACCEPT_TIMEOUT_S = 30.0  # for a replica to take a request: time enough for one to be replaced
ATTEMPTS = 2  # of a call that answers whole: nothing of it was told to anybody when its replica dies


async def stream(handles: Handles, hear: Hear, model: str, variant: str, request: Request) -> AsyncIterator[Delta]:
    """Deltas of one request from one of the variant's replicas. Closing the iterator aborts the request."""
    handle = handles[model, variant].options(
        stream=True, request_serialization="pickle", response_serialization="pickle"
    )
    items: DeploymentResponseGenerator[Delta | tuple[Delta, Load]]
    items = handle.told_generate.remote(request)  # type: ignore[assignment]
    finished = False
    try:
        await accepted(items)
        async for item in items:
            if isinstance(item, tuple):
                delta, load = item
                hear(model, variant, load)
            else:
                delta = item
            finished = delta.finished
            yield delta
    except Exception as error:
        finished = True
        raise translated(error) from error
    finally:
        if not finished:
            items.cancel()


async def compute(handles: Handles, hear: Hear, model: str, variant: str, requests: Sequence[Any]) -> Sequence[Any]:
    """Outcomes of all requests, in order, from one of the variant's replicas; from another where that one dies.

    What went wrong with one is in its `error`. Being cancelled aborts all. Raises Overloaded and EngineFailed.
    """
    handle = handles[model, variant].options(request_serialization="pickle", response_serialization="pickle")
    for attempt in range(1, ATTEMPTS + 1):
        response: DeploymentResponse[tuple[Sequence[Any], Load | None]]
        response = handle.told_compute.remote(tuple(requests))  # type: ignore[assignment]
        ended = False
        try:
            await accepted(response)
            outcomes, load = await response
            ended = True
            if load is not None:
                hear(model, variant, load)
            return outcomes
        except Exception as error:
            ended = True
            if attempt == ATTEMPTS or not lost(error):
                raise translated(error) from error
            log.warning("a replica was lost, asking another: %s", error)
        finally:
            if not ended:
                response.cancel()
    raise AssertionError("the last attempt returns or raises")


async def accepted(response: DeploymentResponse[Any] | DeploymentResponseGenerator[Any]) -> None:
    """Waits until a replica took the request.

    Serve itself would wait for ever: for a replica that cannot start again, or, where an application is removed, for
    one that will not. Raises Overloaded.
    """
    try:
        async with asyncio.timeout(ACCEPT_TIMEOUT_S):
            await response._fetch_future_result_async()  # what awaiting it begins with; no public name has it
    except TimeoutError:
        raise Overloaded("no replica of this model is ready; try again later", retry_after_s=5.0) from None


def lost(error: Exception) -> bool:
    """Whether the replica went away, as against having answered with an error."""
    return isinstance(error, RayError) and not isinstance(
        error, RayTaskError | BackPressureError | DeploymentUnavailableError
    )


def translated(error: Exception) -> Exception:
    """What Ray raises, as one of ours: the replica's own error, or that the replica is gone."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, StagelineError):
        return cause
    if isinstance(error, BackPressureError):
        return Overloaded("too many requests are waiting already; try again later")
    if isinstance(error, DeploymentUnavailableError):
        return Overloaded("this model is being removed or replaced; try again later")
    if isinstance(error, RayError):
        log.error("a replica failed in mid-request: %s", error)
        return EngineFailed("the replica that computed this answer died; try again")
    return error
