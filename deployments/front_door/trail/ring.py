"""The records of recent requests, so many and no more: the last ones, and of those that were slow or failed some that
came before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from deployments.front_door.trail.record import Record

RECENT = 2000
KEPT = 500
LISTED = 50
OVER_LIMIT = 429

Which = Literal["all", "slow", "failed", "open"]
"""All that have ended, or of these those that were slow or that failed; or those that have not ended."""


@dataclass(frozen=True, slots=True)
class Query:
    """What of the records is asked for; `model` "" is any."""

    which: Which = "all"
    model: str = ""
    limit: int = LISTED


class Ring:
    """Used by one event loop. A request is slow where it took longer than `slow_s` seconds, or where that is None
    where it missed its model's objective. `on_end` is told each record when its request has ended."""

    def __init__(
        self,
        recent: int = RECENT,
        kept: int = KEPT,
        slow_s: float | None = None,
        on_end: Callable[[Record], None] = lambda _: None,
    ) -> None:
        self.slow_s = slow_s
        self.on_end = on_end
        self._open: dict[int, Record] = {}
        self._recent: deque[Record] = deque(maxlen=recent)
        self._kept: deque[Record] = deque(maxlen=kept)

    def begin(self, record: Record) -> None:
        """Its request has come."""
        self._open[id(record)] = record

    def end(self, record: Record, *, keep: bool = True) -> None:
        """It has ended, and is remembered if it is to be kept."""
        self._open.pop(id(record), None)
        if not keep:
            return
        if len(self._recent) == self._recent.maxlen and self._worth_keeping(self._recent[0]):
            self._kept.append(self._recent[0])
        self._recent.append(record)
        self.on_end(record)

    def _worth_keeping(self, record: Record) -> bool:
        """Who asks again and again over his limits shall not push out the others'."""
        return record.status != OVER_LIMIT and (self.slow(record) or record.failed)

    def slow(self, record: Record) -> bool:
        """Whether it took too long, or its caller gave up after as long."""
        if self.slow_s is not None:
            return record.took_s > self.slow_s
        return bool(record.missed) or record.given_up

    def listed(self, query: Query) -> list[Record]:
        """The latest that fit, latest first."""
        found = []
        for record in self._latest(query.which):
            if query.model in ("", record.model):
                found.append(record)
                if len(found) >= query.limit:
                    break
        return found

    def find(self, request_id: str) -> Record | None:
        """The latest with this id: callers may give several requests the same."""
        return next((one for which in ("open", "all") for one in self._all(which) if one.id == request_id), None)

    def _latest(self, which: Which) -> Iterator[Record]:
        match which:
            case "slow":
                return (one for one in self._all("all") if self.slow(one))
            case "failed":
                return (one for one in self._all("all") if one.failed)
        return self._all(which)

    def _all(self, which: str) -> Iterator[Record]:
        if which == "open":
            yield from reversed(list(self._open.values()))
        else:
            yield from reversed(self._recent)
            yield from reversed(self._kept)
