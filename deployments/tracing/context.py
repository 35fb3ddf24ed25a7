"""Whose span comes before: W3C Trace Context, as it comes in headers and goes to replicas."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.context import Context
from opentelemetry.trace import Span, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()
_HEADERS = (b"traceparent", b"tracestate")


def of_headers(headers: Iterable[tuple[bytes, bytes]]) -> Context | None:
    """The caller's span, by the request's headers; None where they name none, or not as they should."""
    given = {name.decode(): value.decode("latin-1") for name, value in headers if name in _HEADERS}
    if not given:
        return None
    found = _PROPAGATOR.extract(given)
    return found if get_current_span(found).get_span_context().is_valid else None


def of_parent(traceparent: str) -> Context:
    """The span that a `traceparent` names."""
    return _PROPAGATOR.extract({"traceparent": traceparent})


def traceparent(span: Span) -> str:
    """What names this span to others."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def nanoseconds(at_s: float) -> int:
    """Wall clock as OpenTelemetry has it."""
    return int(at_s * 1e9)
