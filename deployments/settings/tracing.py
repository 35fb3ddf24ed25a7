"""Where traces of requests go."""

from __future__ import annotations

from pydantic import Field

from deployments.settings.section import Section


class Tracing(Section):
    """`otlp` is where traces are sent, by OTLP over HTTP: "http://collector:4318". `sample` is the share of requests
    that are traced, of those whose callers do not say. Without `otlp`, the standard variables OTEL_EXPORTER_OTLP_* say
    where; without those too nothing is traced."""

    otlp: str | None = Field(None, pattern=r"^https?://[^\s]+$")
    sample: float = Field(0.05, ge=0, le=1)
