"""Where a process's spans go: settings and the standard OTEL_* variables to a tracer, or to none.

opentelemetry-sdk and the exporter come with the extra `tracing`; nothing here is imported where nothing is traced.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from engine.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from deployments.settings.tracing import Tracing

ENVIRONMENT = "STAGELINE_TRACING"
"""Where replicas find where to send spans: `Tracing` as JSON."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SAMPLER = "OTEL_TRACES_SAMPLER"
PATH = "/v1/traces"
MOST_EVENTS = 300  # of a span: each time that a part of the answer went out is one


def wanted(tracing: Tracing) -> bool:
    """Whether anything is traced."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return tracing.otlp is not None or any(os.environ.get(name) for name in ENDPOINTS)


def environment(tracing: Tracing) -> dict[str, str]:
    """What `tracer_here` reads; nothing where nothing is configured."""
    return {ENVIRONMENT: tracing.model_dump_json()} if tracing.otlp is not None else {}


def tracer_here(process: str, instance: str) -> Tracer | None:
    """The tracer of a process that Ray started, as its environment says."""
    from deployments.settings.tracing import Tracing

    text = os.environ.get(ENVIRONMENT)
    return tracer_of(Tracing() if text is None else Tracing.model_validate_json(text), process, instance)


def tracer_of(tracing: Tracing, process: str, instance: str) -> Tracer | None:
    """What makes spans of this process (`process` as in logs, `instance` tells it from others of that name), and sends
    them in the background. None where nothing is traced. Raises ConfigError where the extra is not installed."""
    if not wanted(tracing):
        return None
    check_installed()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    names = {"service.instance.id": instance, "stageline.process": process}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        names["service.name"] = "stageline"
    provider = TracerProvider(resource=Resource.create(names), span_limits=SpanLimits(max_events=MOST_EVENTS))
    endpoint = None if tracing.otlp is None else endpoint_of(tracing.otlp)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider.get_tracer("stageline")


def endpoint_of(otlp: str) -> str:
    """A collector's address with the path for traces, where it has none of its own."""
    return otlp if urlsplit(otlp).path.strip("/") else otlp.rstrip("/") + PATH


def check_installed() -> None:
    """Raises ConfigError where traces cannot be sent."""
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"Traces are to be sent, and what sends them is not installed ({error.name}): pip install "
            "'stageline[tracing]', or leave out tracing.otlp and OTEL_EXPORTER_OTLP_ENDPOINT.",
            param="tracing.otlp",
        ) from None
