"""Thousands of connections that say nothing, while honest callers go on."""

from __future__ import annotations

import asyncio
import resource
import time

from deployments.attacks.outcome import Outcome
from deployments.attacks.scene import Scene

WANTED = 10_000
HOLD_S = 20.0
_AT_ONCE = 200
_SPARE = 200  # files that this process needs for itself


def possible(wanted: int) -> int:
    """How many connections this process may open; its limit is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _SPARE
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, soft - _SPARE)


async def attack(scene: Scene) -> Outcome:
    """Opens them, holds them, lets go."""
    count = possible(WANTED)
    host, port = scene.address
    writers: list[asyncio.StreamWriter] = []
    refused = 0
    began = time.monotonic()
    try:
        while len(writers) + refused < count:
            group = min(_AT_ONCE, count - len(writers) - refused)
            opened = await asyncio.gather(
                *(asyncio.wait_for(asyncio.open_connection(host, port, limit=1024), 10) for _ in range(group)),
                return_exceptions=True,
            )
            writers += [one[1] for one in opened if isinstance(one, tuple)]
            refused += sum(isinstance(one, BaseException) for one in opened)
        opened_s = time.monotonic() - began
        await asyncio.sleep(HOLD_S)
        held = sum(not writer.transport.is_closing() for writer in writers)
    finally:
        for writer in writers:
            writer.transport.abort()
    seen = {
        "wanted": WANTED,
        "opened": len(writers),
        "refused": refused,
        "opened_in_s": round(opened_s, 1),
        f"still open after {HOLD_S:.0f} s": held,
    }
    return Outcome(seen=seen)
