from __future__ import annotations

import pytest
import schemathesis

from deployments.attacks.openapi_fuzz import ask_all
from deployments.front_door.app import create_app
from tests.deployments.front_door.fakes import FakeEngine, make_service


def test_every_answer_is_as_described() -> None:
    app = create_app(make_service(FakeEngine()))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    outcome = ask_all(schema, {}, {}, examples=5)
    assert outcome.faults == []
    asked = outcome.seen["operations"]
    assert {"POST /v1/completions", "POST /translate", "GET /metrics"} <= set(asked)


def test_what_is_not_described_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(make_service(FakeEngine()))
    page = app.openapi()
    page["components"]["schemas"]["Error"]["properties"]["error"]["required"].append("advice")
    try:
        outcome = ask_all(schemathesis.openapi.from_asgi("/openapi.json", app), {}, {}, examples=5)
    finally:
        page["components"]["schemas"]["Error"]["properties"]["error"]["required"].remove("advice")
    assert any("advice" in fault for fault in outcome.faults)
