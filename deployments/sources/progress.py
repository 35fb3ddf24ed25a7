"""How a download tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

# (what is fetched, bytes so far, bytes in all or None when unknown)
Progress = Callable[[str, int, int | None], None]


def silent(what: str, done: int, total: int | None) -> None:
    """For callers that show nothing."""
