"""When a step, a batch or an event loop is taken to hang. Settings need it, and bring no Ray."""

from __future__ import annotations

import os
from dataclasses import dataclass

_STEP, _EVENTS = "STAGELINE_WATCHDOG_STEP_S", "STAGELINE_WATCHDOG_EVENTS_S"


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """In seconds: what one step of an engine or one batch of a stage may take, and one turn of an event loop."""

    step_s: float = 30.0
    events_s: float = 5.0

    def environment(self) -> dict[str, str]:
        """Variables for the processes that are to go by these; none for the usual ones, as a process with variables of
        its own starts more slowly."""
        if self == WatchLimits():
            return {}
        return {_STEP: str(self.step_s), _EVENTS: str(self.events_s)}


def limits_here() -> WatchLimits:
    """Those of this process."""
    usual = WatchLimits()
    return WatchLimits(float(os.environ.get(_STEP) or usual.step_s), float(os.environ.get(_EVENTS) or usual.events_s))
