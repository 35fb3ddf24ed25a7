"""Asks all replicas of a variant the same, so that one that hangs does not hide what the others answer."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentBroadcastResponse, DeploymentHandle


async def answers(handle: DeploymentHandle[Any], method: str, *args: Any, timeout_s: float) -> list[Any] | None:
    """What each replica answers that does so in time; none where there is no replica, None where all are too late.

    (`results_async` raises TimeoutError for all as soon as one is late, and no public name gives them one by one.)
    """
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    response: DeploymentBroadcastResponse = handle.broadcast(method, *args)
    try:
        async with asyncio.timeout_at(deadline_s):
            results = await response._fetch_replica_results_async()
    except TimeoutError:
        return None
    except (RayError, RayServeException):
        return []
    if not results:
        return []
    tasks = [asyncio.ensure_future(result.get_async()) for result in results]
    try:
        done, late = await asyncio.wait(tasks, timeout=max(0.0, deadline_s - asyncio.get_running_loop().time()))
    finally:
        for result, task in zip(results, tasks, strict=True):
            if not task.done():
                task.cancel()
                result.cancel()
    found = [task.result() for task in tasks if task in done and not task.cancelled() and task.exception() is None]
    return None if late and not found else found
