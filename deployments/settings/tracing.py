"""Where traces of requests go."""

from __future__ import annotations

from pydantic import Field

from deployments.settings.section import Section


class Tracing(Section):
    """`otlp` is where traces are sent, by OTLP over HTTP: "http://collector:4318". Of requests whose
    callers do not say, the share `sample` is traced, and at most `per_second` of each front door. Without `otlp`, the
    standard variables OTEL_EXPORTER_OTLP_* say where; without those too nothing is traced."""

    otlp: str | None = Field(None, pattern=r"^https?://[^\s]+$")
    sample: float = Field(1.0, ge=0, le=1)
    per_second: float = Field(2.0, gt=0, allow_inf_nan=False)
