"""A run's outcome as an exit status, for CI."""

from __future__ import annotations

KEPT, BROKEN, NOTHING = 0, 1, 2


def exit_status(kept: bool, complete: bool, answered: int) -> int:
    """0: the objective was kept, 1: it was not, 2: the run was not completed, or nothing was answered."""
    if not complete or not answered:
        return NOTHING
    return KEPT if kept else BROKEN
