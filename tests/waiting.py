"""Waiting for what happens in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], Any], otherwise: str, limit_s: float = 60.0) -> None:
    """Asks again and again until `condition` holds.

    Raises:
        AssertionError: it did not within `limit_s` seconds; `otherwise` says what was waited for, or what is wrong.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s: {otherwise}"
        time.sleep(0.02)
