"""The front door's own wait for an answer ends at the caller's deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

from deployments.front_door.metrics import Metrics
from deployments.front_door.plan import Arrival, Target
from engine.errors import DeadlineExceeded


@asynccontextmanager
async def in_time(target: Target[Any], arrival: Arrival, metrics: Metrics) -> AsyncIterator[None]:
    """Cancels what is inside when the deadline passes, counts it, and raises `DeadlineExceeded`. However it ends, the
    request no longer counts as sent to its variant."""
    timeout = asyncio.timeout_at(arrival.deadline_at)
    try:
        with closing(target.ticket):
            async with timeout:
                yield
    except TimeoutError:
        if not timeout.expired():
            raise
        metrics.rejected(target.model.name, target.variant, "deadline")
        raise DeadlineExceeded(
            "The deadline in x-request-timeout-seconds passed before the answer was complete."
        ) from None
