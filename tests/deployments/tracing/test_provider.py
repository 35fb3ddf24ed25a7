from __future__ import annotations

import builtins
from typing import Any

import pytest

from deployments.settings import Tracing
from deployments.tracing.here import replica_tracer, request_tracer
from deployments.tracing.provider import (
    ENDPOINTS,
    ENVIRONMENT,
    SAMPLER,
    check_installed,
    endpoint_of,
    environment,
    wanted,
)
from engine.errors import ConfigError

COLLECTOR = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ENDPOINTS, ENVIRONMENT, "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_is_traced_unless_somebody_says_where() -> None:
    assert not wanted(Tracing())
    assert request_tracer(Tracing(), "f") is None
    assert request_tracer(None, "f") is None
    assert replica_tracer("m", "v", "r", None) is None
    assert environment(Tracing()) == {}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_standard_variables_say_where(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, COLLECTOR)
    assert wanted(Tracing())
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not wanted(Tracing(otlp=COLLECTOR))


def test_replicas_are_told_by_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, environment(Tracing(otlp=COLLECTOR))[ENVIRONMENT])
    assert replica_tracer("m", "v", "r", None) is not None


@pytest.mark.parametrize(
    ("otlp", "endpoint"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/api/otlp/v1/traces", "https://c/api/otlp/v1/traces"),
    ],
)
def test_where_spans_go(otlp: str, endpoint: str) -> None:
    assert endpoint_of(otlp) == endpoint


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("opentelemetry.exporter.otlp"):
            raise ImportError(name, name=name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"stageline\[tracing\]"):
        check_installed()


def test_a_sampler_of_the_standard_variables_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SAMPLER, raising=False)
    ours = request_tracer(Tracing(otlp=COLLECTOR), "f")
    assert ours is not None
    assert ours.sampler is not None
    monkeypatch.setenv(SAMPLER, "always_off")
    theirs = request_tracer(Tracing(otlp=COLLECTOR), "f")
    assert theirs is not None
    assert theirs.sampler is None
    assert not theirs.tracer.start_span("POST").is_recording()
