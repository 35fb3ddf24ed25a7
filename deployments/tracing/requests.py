"""The front door's spans of a request, made of its record when it has ended.

Only the root and the calls to replicas are begun earlier, since others hang theirs below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from deployments.front_door.trail.phases import last_call
from deployments.front_door.trail.record import Record, Visit
from deployments.front_door.trail.view import outcome
from deployments.routing.explain import explain
from deployments.tracing.context import nanoseconds, of_headers, traceparent
from deployments.tracing.sampler import Sampler


class RequestTracer:
    """Of one front door. Where a caller does not say whether its request is traced, `sampler` does, or else the
    tracer's own."""

    def __init__(self, tracer: Tracer, sampler: Sampler | None = None) -> None:
        self.tracer = tracer
        self.sampler = sampler

    def begin(self, record: Record, headers: Iterable[tuple[bytes, bytes]]) -> RequestTrace | None:
        """The trace of a request that has just come, the caller's if it has one; None where it is not sampled."""
        caller = of_headers(headers)
        sampler = self.sampler if caller is None else None
        if sampler is not None and not sampler.picks():
            return None
        start = nanoseconds(record.arrived_s)
        span = self.tracer.start_span(record.method, caller or Context(), SpanKind.SERVER, start_time=start)
        if not span.is_recording():
            return None
        record.trace, record.flushed = traceparent(span), []
        return RequestTrace(self.tracer, span, record, sampler)


class RequestTrace:
    """Of one request, picked by `sampler` where its caller did not ask for it."""

    def __init__(self, tracer: Tracer, span: Span, record: Record, sampler: Sampler | None = None) -> None:
        self._tracer = tracer
        self._sampler = sampler
        self._span = span
        self._record = record
        self._context = set_span_in_context(span)
        self._visits: list[tuple[Visit, Span]] = []

    def visit(self, visit: Visit) -> str:
        """A replica is looked for: what it is to hang its spans below."""
        start = self._at(visit.begun)
        span = self._tracer.start_span("call", self._context, SpanKind.CLIENT, start_time=start)
        self._visits.append((visit, span))
        return traceparent(span)

    def end(self) -> None:
        """The request has ended, and its record is complete."""
        record = self._record
        self._part("read", record.arrived, record.read)
        asked = min((call.visits[0].begun for call in record.calls if call.visits), default=record.chosen)
        self._part("tokenize", record.read, record.choosing)
        self._part("choose", record.choosing, record.chosen, _choice(record), _candidates(record))
        if record.task != "text-generation":
            self._part("tokenize", record.chosen, asked)
        for visit, span in self._visits:
            self._end_visit(visit, span)
        last = last_call(record)
        if last is not None:
            self._part("answer", last.visits[-1].ended, record.ended)
        for at, size in record.flushed or ():
            self._span.add_event("flush", {"bytes": size}, self._at(at))
        self._span.update_name(f"{record.method} {record.path}".strip())
        self._span.set_attributes(_attributes(record))
        if record.failed:
            self._span.set_status(Status(StatusCode.ERROR, record.error))
        self._span.end(self._at(record.ended))

    def drop(self) -> None:
        """The request has ended, and is to leave no trace: spans that do not end are not sent."""
        if self._sampler is not None:
            self._sampler.put_back()

    def _end_visit(self, visit: Visit, span: Span) -> None:
        span.set_attributes({"stageline.replica": visit.replica, "gen_ai.usage.output_tokens": visit.tokens})
        if visit.sent:
            span.add_event("sent", timestamp=self._at(visit.sent))
        if visit.first:
            span.add_event("first part", timestamp=self._at(visit.first))
        if visit.cause:
            span.set_status(Status(StatusCode.ERROR, visit.cause))
        span.end(self._at(visit.ended or self._record.ended))

    def _part(
        self,
        name: str,
        start: float,
        end: float,
        attributes: Mapping[str, Any] | None = None,
        events: Iterable[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        """A span from one moment to another, where both came."""
        if not start or not end:
            return
        span = self._tracer.start_span(name, self._context, start_time=self._at(start), attributes=attributes)
        for event, more in events:
            span.add_event(event, more, self._at(end))
        span.end(self._at(max(start, end)))

    def _at(self, moment: float) -> int:
        return nanoseconds(self._record.arrived_s + moment - self._record.arrived)


def _attributes(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {
        "http.request.method": record.method,
        "http.route": record.path,
        "http.response.status_code": record.status,
        "stageline.request_id": record.id,
        "stageline.outcome": outcome(record),
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.output_tokens,
    }
    if record.model:
        found["gen_ai.request.model"] = record.model
    if record.decision is not None:
        found |= {"stageline.variant": record.decision.variant, "stageline.reason": record.decision.reason}
    if record.key:
        found["stageline.key"] = record.key
    if record.missed:
        found["stageline.missed"] = list(record.missed)
    if record.error:
        found["error.type"] = record.error
    return found


def _choice(record: Record) -> dict[str, Any]:
    if record.decision is None:
        return {}
    return {"stageline.variant": record.decision.variant, "stageline.reason": record.decision.reason}


def _candidates(record: Record) -> list[tuple[str, dict[str, Any]]]:
    """What was thought of each variant."""
    if record.situation is None:
        return []
    found = []
    for one in explain(record.situation, record.decision):
        told: dict[str, Any] = {"stageline.variant": one.name, "stageline.verdict": one.verdict}
        if one.share is not None and one.predicted is not None:
            told |= {
                "stageline.share": one.share,
                "stageline.predicted.first_s": one.predicted.first_s,
                "stageline.predicted.token_s": one.predicted.token_s,
            }
        found.append(("candidate", told))
    return found
