"""One HTTP request's record, filled in on its way: moments and counts only, for every request pays for it.

What they mean is worked out when somebody asks (`phases.py`, `view.py`). Never a text, a token or a key.

Moments are by `time.perf_counter`; 0 stands for one that did not come.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from deployments.routing.choice import Decision
from deployments.routing.situation import Situation
from engine.errors import DeadlineExceeded, EngineFailed, Overloaded, PayloadTooLarge
from engine.request import Delta, Timings

RECORD_KEY = "stageline.record"
"""In an ASGI scope."""

MOST_CALLS = 16  # of one request that are kept; of more, the first ones and the last
MOST_VISITS = 8  # of one call
MOST_FLUSHES = 256  # whose moments are kept where somebody traces the request
LONGEST_ERROR = 500
ABOUT_US = (Overloaded, DeadlineExceeded, EngineFailed, PayloadTooLarge)


class Tracing(Protocol):
    """The trace of one request (`deployments.tracing.requests.RequestTrace`)."""

    def visit(self, visit: Visit) -> str:
        """A replica is looked for: the W3C `traceparent` that it is given."""

    def end(self) -> None:
        """The request has ended."""

    def drop(self) -> None:
        """The request has ended, and is to leave no trace."""


@dataclass(slots=True)
class Visit:
    """One replica's part in a call: from `begun` on a replica was looked for, it was asked at `sent`, told its first
    part at `first`, and had its end at `ended`. `cause`: how it failed (see `retries.Cause`), "" where it did not.
    `timings` are as the replica took them: its queue counts from the request's arrival at the front door. `traces` are
    the W3C `traceparent`s under which the replica tells of it."""

    begun: float
    replica: str = ""
    sent: float = 0.0
    first: float = 0.0
    ended: float = 0.0
    tokens: int = 0
    cached_tokens: int = 0
    timings: Timings | None = None
    cause: str = ""
    traces: tuple[str, ...] = ()

    def heard(self, delta: Delta) -> None:
        """The first part of a stream came, or one that has timings."""
        if not self.first:
            self.first = time.perf_counter()
        self.cached_tokens = delta.cached_tokens or self.cached_tokens
        self.timings = delta.timings or self.timings

    def answered(self, results: Sequence[Any]) -> None:
        """All texts were answered, at once: the one that took the longest counts."""
        self.first = time.perf_counter()
        queue_s = run_s = 0.0
        for one in results:
            queue_s, run_s = max(queue_s, one.queue_s), max(run_s, one.run_s)
        self.timings = Timings(queue_s, run_s, 0.0)


@dataclass(slots=True)
class Call:
    """One engine request, or a group of texts, with all the replicas that it was asked of, one after the other.
    `traced` are the traces of the requests that it is for."""

    texts: int = 1
    visits: list[Visit] = field(default_factory=list)
    traced: tuple[Tracing, ...] = ()

    def visit(self) -> Visit:
        """Another replica is looked for."""
        visit = Visit(time.perf_counter())
        if self.traced:
            visit.traces = tuple(one.visit(visit) for one in self.traced)
        if len(self.visits) >= MOST_VISITS:
            self.visits.pop()
        self.visits.append(visit)
        return visit


@dataclass(slots=True)
class Record:
    """`arrived_s` by the wall clock, all other moments by the performance counter: the headers had come at `arrived`,
    the body was read and checked at `read`, the variant was chosen between `choosing` and `chosen`, and the answer had
    gone out at `ended`. `sending_s` is what the server took to write it, which is long where the caller reads slowly.

    `key` is the name of the caller's key. `prompt_tokens` count once for each answer. `missed` are the parts of the
    objective that an answer missed. `error` is its type. `trace` is the W3C `traceparent` of the front door's span, ""
    where nobody traces.
    """

    id: str
    method: str = ""
    path: str = ""
    arrived_s: float = 0.0
    arrived: float = 0.0
    trace: str = ""
    key: str = ""
    model: str = ""
    task: str = ""
    streamed: bool = False
    read: float = 0.0
    choosing: float = 0.0
    chosen: float = 0.0
    ended: float = 0.0
    situation: Situation | None = None
    decision: Decision | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    calls: list[Call] = field(default_factory=list)
    more_calls: int = 0
    first_s: float | None = None
    token_s: float | None = None
    missed: tuple[str, ...] = ()
    flushes: int = 0
    sending_s: float = 0.0
    flushed: list[tuple[float, int]] | None = None
    status: int = 0
    gone: bool = False
    error: str = ""
    message: str = ""
    tracing: Tracing | None = None

    def add(self, call: Call) -> Call:
        """Replicas are about to be asked."""
        if self.tracing is not None:
            call.traced = (*call.traced, self.tracing)
        if len(self.calls) >= MOST_CALLS:
            self.calls.pop()
            self.more_calls += 1
        self.calls.append(call)
        return call

    def answered(self, missed: tuple[str, ...], first_s: float, token_s: float | None = None) -> None:
        """One of its answers is complete, and was held against the objective; of several the slowest counts."""
        self.missed = self.missed or missed
        self.first_s = max(self.first_s or 0.0, first_s)
        if token_s is not None:
            self.token_s = max(self.token_s or 0.0, token_s)

    def fail(self, error: Exception) -> None:
        """It ends with this. What it says is kept where it is about us: what is about the request may quote it."""
        self.error = type(error).__name__
        if isinstance(error, ABOUT_US):
            self.message = error.message[:LONGEST_ERROR]

    @property
    def failed(self) -> bool:
        """Whether the caller got no answer though there was nothing wrong with what was asked."""
        if self.gone:
            return False
        return self.status >= 500 or self.status in (408, 429) or (self.status == 200 and self.error != "")

    @property
    def given_up(self) -> bool:
        """Whether its caller left, and the first word of its answer had come later than promised or not at all."""
        if not self.gone or self.situation is None:
            return False
        words = [visit.first for call in self.calls for visit in call.visits if visit.first]
        return min(words, default=self.ended) - self.arrived > self.situation.objective.first_s

    @property
    def reached(self) -> bool:
        """Whether a replica was asked: until then it waits for one."""
        return any(visit.sent for call in self.calls for visit in call.visits)

    @property
    def took_s(self) -> float:
        """From its arrival to its end, or until now."""
        return (self.ended or time.perf_counter()) - self.arrived


class Tracer(Protocol):
    """What traces requests (`deployments.tracing.requests.RequestTracer`)."""

    def begin(self, record: Record, headers: Iterable[tuple[bytes, bytes]]) -> Tracing | None:
        """The trace of a request that has just come; None where it is not traced."""


CURRENT: ContextVar[Record | None] = ContextVar("stageline_record", default=None)
"""The record of the request that a task works for."""


def record_of(scope: Any) -> Record:
    """The record of an ASGI scope's request; one that nobody keeps where the request came without the middleware."""
    record = scope.get(RECORD_KEY)
    return record if isinstance(record, Record) else Record("")


SHARING: ContextVar[Sequence[Record]] = ContextVar("stageline_sharing", default=())
"""The records of all requests whose texts travel in one call, in the task that makes it."""


def begin_call(texts: int = 1) -> Call:
    """The current request, or all that share the call, ask replicas; kept nowhere where nobody asked over HTTP."""
    records = SHARING.get()
    if not records:
        record = CURRENT.get()
        return Call(texts) if record is None else record.add(Call(texts))
    call = Call(texts)
    for record in records:
        record.add(call)
    return call
