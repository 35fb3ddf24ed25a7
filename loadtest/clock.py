"""Seconds since a run's start, the same for all processes, and never set back."""

from __future__ import annotations

import time


class RunClock:
    """Runs with the processor's steady clock from where the wall's stood when it was made. `start_s` is Unix time."""

    def __init__(self, start_s: float) -> None:
        self.start_s = start_s
        self._offset_s = time.time() - start_s - time.perf_counter()

    def __call__(self) -> float:
        return round(time.perf_counter() + self._offset_s, 6)


def apart_s(asked_s: float, told_s: float, heard_s: float) -> float:
    """How far another clock is off this one, at least: it told its time between the asking and the hearing."""
    return max(0.0, asked_s - told_s, told_s - heard_s)
