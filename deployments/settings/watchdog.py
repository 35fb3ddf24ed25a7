"""When something is taken to hang."""

from __future__ import annotations

from pydantic import Field

from cluster.watch_limits import WatchLimits
from deployments.settings.section import Section


class Watchdog(Section):
    """The stacks of all threads are written down where one engine step, or one batch of a stage, lasts longer than
    `step_s`, or a process's event loop does not come round within `events_s`."""

    step_s: float = Field(30.0, gt=0, allow_inf_nan=False)
    events_s: float = Field(5.0, gt=0, allow_inf_nan=False)

    @property
    def limits(self) -> WatchLimits:
        return WatchLimits(self.step_s, self.events_s)
