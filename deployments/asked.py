"""What the front door asks a replica, and for whom: the request's id for logs, and who traces it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """`what` is asked. `traces` are W3C `traceparent`s of those who trace it: several where requests go together."""

    what: Any
    request_id: str = ""
    traces: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[type[Asked], tuple[Any, str, tuple[str, ...]]]:
        # What dataclasses do by themselves takes longer, and one of these travels with every call.
        return Asked, (self.what, self.request_id, self.traces)


TRACES: ContextVar[tuple[str, ...]] = ContextVar("stageline_traces", default=())
"""Of the call that a task of a replica answers."""
