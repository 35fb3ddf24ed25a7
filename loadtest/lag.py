"""Whether the client keeps up: how late its own loop wakes, and how much of a core it uses.

A client that has no time to read shows the server slower than it is, and one that has no time to send asks for less
than was planned. Either makes a run worthless, so it is measured in each of the client's processes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import gevent
import numpy as np

TICK_S = 0.02


@dataclass(slots=True)
class LagMeter:
    """Sleeps again and again for TICK_S, and notes by how much it overslept."""

    late_s: list[float] = field(default_factory=list)
    _began: float = 0.0
    _used: float = 0.0
    _greenlet: Any = None

    def start(self) -> None:
        """From now on; what was measured before is forgotten."""
        self.stop()
        self.late_s, self._began, self._used = [], time.perf_counter(), time.process_time()
        self._greenlet = gevent.spawn(self._tick)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None

    def facts(self) -> dict[str, float]:
        """So far: percentiles of the lag in milliseconds, and the share of one core."""
        late = 1000 * np.array(self.late_s or [0.0])
        shown = {"p50": np.percentile(late, 50), "p99": np.percentile(late, 99), "max": late.max()}
        share = (time.process_time() - self._used) / max(1e-9, time.perf_counter() - self._began)
        return {
            **{f"lag_{name}_ms": round(float(value), 3) for name, value in shown.items()},
            "cpu_share": round(share, 3),
        }

    def _tick(self) -> None:
        while True:
            due = time.perf_counter() + TICK_S
            gevent.sleep(TICK_S)
            self.late_s.append(max(0.0, time.perf_counter() - due))
