"""Notices that something hangs: looks every second for how long each watched thing has been at it, and when that is too
long writes down where all threads are. It ends nothing; whoever looks after the process's health does."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine import stacks

log = logging.getLogger(__name__)

EVERY_S = 1.0


@dataclass(slots=True)
class Suspect:
    """What is watched. `busy_s` says for how long it has been at one thing, 0 between two."""

    what: str
    busy_s: Callable[[], float]
    limit_s: float
    stalls: int = 0
    _before_s: float = 0.0
    _forgiven_s: float = 0.0
    _told: bool = False

    def hangs(self, late_s: float) -> bool:
        """Whether it has been at one thing for too long, once for each. `late_s` is how long this process stood still
        since the last look, as when a machine sleeps: that is not its fault."""
        busy = self.busy_s()
        if busy < self._before_s:
            self._forgiven_s, self._told = 0.0, False
        self._before_s = busy
        self._forgiven_s += late_s if busy else 0.0
        if self._told or busy - self._forgiven_s <= self.limit_s:
            return False
        self._told = True
        self.stalls += 1
        return True


@dataclass(slots=True)
class Watchdog:
    """Watches, from `start` on. What it finds is in the log, with the file in `folder` that has the stacks."""

    name: str
    folder: Path
    suspects: list[Suspect] = field(default_factory=list)
    _thread: threading.Thread | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begins to look."""
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Looks no more."""
        self._ended.set()

    def stalls(self) -> dict[str, int]:
        """How often each has hung."""
        return {suspect.what: suspect.stalls for suspect in self.suspects}

    def look(self, late_s: float = 0.0) -> list[Path]:
        """Looks once. Returns the files that it wrote."""
        written = []
        for suspect in self.suspects:
            if not suspect.hangs(late_s):
                continue
            why = f"{suspect.what} of {self.name} has been at one thing for more than {suspect.limit_s:.0f} s"
            try:
                written.append(stacks.dump(self.folder, why))
            except OSError as error:
                log.error("%s; its stacks could not be written (%s):\n%s", why, error, stacks.stacks())
            else:
                log.error("%s; the stacks of all threads are in %s", why, written[-1])
        return written

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._ended.wait(EVERY_S):
            now = time.monotonic()
            late, looked = max(0.0, now - looked - 2 * EVERY_S), now
            try:
                self.look(late)
            except Exception:
                log.exception("the watchdog failed to look")


class Turns:
    """For how long an event loop has not come round: a call that it was asked to make and has not made."""

    def __init__(self, events: asyncio.AbstractEventLoop) -> None:
        self._events = events
        self._asked_s: float | None = None

    def busy_s(self) -> float:
        """0 for one that turns, or has ended. Asks it again, where it has answered."""
        asked = self._asked_s
        if asked is not None:
            return time.monotonic() - asked
        try:
            self._asked_s = time.monotonic()
            self._events.call_soon_threadsafe(self._turned)
        except RuntimeError:  # it is closed
            self._asked_s = None
        return 0.0

    def _turned(self) -> None:
        self._asked_s = None
