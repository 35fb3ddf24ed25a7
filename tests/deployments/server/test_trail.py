"""What the shared server tells of requests: records, logs, traces, and that none of them says what was sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tests.deployments.otlp_receiver import Told
from tests.deployments.server.conftest import SharedServer
from tests.deployments.server.running import ROOMY, TIGHT, Server
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.model]

CANARY = "canary-4711"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def ask(server: Server, path: str, body: object, **headers: str) -> httpx.Response:
    headers["Authorization"] = f"Bearer {CANARY}"
    return httpx.post(f"{server.url}{path}", json=body, headers=headers, timeout=120)


def paths_of(spans: Sequence[Told]) -> set[str]:
    """Names of spans with those above them, as "decode/compute". Each lies in the time of the one above it."""
    by_id = {one.id: one for one in spans}
    paths = set()
    for one in spans:
        path = [one.name]
        while (above := by_id.get(one.parent)) is not None:
            assert above.start_s - 0.1 <= one.start_s <= one.end_s <= above.end_s + 0.1
            path.append(above.name)
            one = above
        paths.add("/".join(path))
    return paths


def test_one_request_is_one_trace(server: Server, shared_server: SharedServer) -> None:
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"
    body = {"model": ROOMY, "prompt": CANARY, "max_tokens": 8, "ignore_eos": True, "stream": True}
    ask(server, "/v1/completions", body, traceparent=parent).raise_for_status()
    texts = {"model": "intents", "input": [CANARY, "a"]}
    ask(server, "/classify", texts, traceparent=parent).raise_for_status()
    spans = shared_server.receiver.wait(
        lambda spans: sum(one.name == "compute" for one in spans) >= 2 and len(spans) >= 19
    )
    assert {one.trace for one in spans} == {TRACE}, "nobody else asked for a trace"
    paths = paths_of(spans)
    for part in ("queue", "prefill", "decode"):
        assert f"{part}/compute/call/POST /v1/completions" in paths
    assert "run/compute/call/POST /classify" in paths
    assert {one.process for one in spans if one.name == "compute"} == {f"{ROOMY}:bf16", "intents:fp32"}
    assert CANARY.encode() not in shared_server.receiver.raw


def test_the_trace_of_a_request_to_a_pipeline_has_its_stages(server: Server, shared_server: SharedServer) -> None:
    trace = TRACE[::-1]
    body = {"model": TIGHT, "prompt": "x", "max_tokens": 8, "ignore_eos": True}
    ask(server, "/v1/completions", body, traceparent=f"00-{trace}-00f067aa0ba902b7-01").raise_for_status()

    def mine(spans: Sequence[Told]) -> list[Told]:
        return [one for one in spans if one.trace == trace]

    spans = shared_server.receiver.wait(
        lambda spans: {"compute", "call", "POST /v1/completions"} <= {one.name for one in mine(spans)}
    )
    paths = paths_of(mine(spans))
    for part in ("prefill", "decode"):
        for stage in (0, 1):
            assert f"stage {stage}/{part}/compute/call/POST /v1/completions" in paths


def test_why(server: Server) -> None:
    ask(server, "/v1/completions", {"model": ROOMY, "prompt": "x", "max_tokens": 4}, **{"X-Request-Id": "for/why"})
    environment = {"STAGELINE_RUN": str(server.log.parent / "run"), "COLUMNS": "160"}
    result = CliRunner().invoke(app, ["why", "for/why"], env=environment, catch_exceptions=False)
    for part in (f"{ROOMY}:bf16", "ok 200", "prefill", "Why bf16", "Which replicas had it"):
        assert part in result.output
    listed = CliRunner().invoke(app, ["why", "--json"], env=environment, catch_exceptions=False)
    assert "for/why" in [one["id"] for one in json.loads(listed.output)]


def test_why_of_a_pipeline(server: Server) -> None:
    """Its stages are seen each half second, so that it has to take a while."""
    body = {"model": TIGHT, "prompt": "x", "max_tokens": 64, "ignore_eos": True}
    ask(server, "/v1/completions", body, **{"X-Request-Id": "staged"}).raise_for_status()

    def stages() -> list[dict[str, Any]]:
        told = httpx.get(f"{server.state.admin_url}/admin/requests/staged", timeout=30).raise_for_status().json()
        return list(told["stages"])

    wait_until(lambda: len(stages()) == 2, "the stages tell what they did")
    first, second = stages()
    assert (first["stage"], second["stage"]) == (0, 1)
    assert first["layers"].startswith("0-")
    assert second["layers"].endswith("-29")
    for one in (first, second):
        assert 0 < one["busy"] <= 1
        assert one["busy"] + one["waiting"] + one["sending"] < 1.1


def test_no_log_says_what_was_sent(server: Server) -> None:
    chat = {"model": ROOMY, "messages": [{"role": "user", "content": CANARY}], "max_tokens": 2}
    for path, body in (
        ("/v1/completions", {"model": ROOMY, "prompt": CANARY, "max_tokens": 2}),
        ("/v1/completions", {"model": CANARY, "prompt": CANARY}),
        ("/v1/completions", {"model": ROOMY, "prompt": CANARY, "logprobs": 10_000}),
        ("/v1/completions", {"model": ROOMY, "prompt": CANARY, CANARY: CANARY}),
        ("/v1/chat/completions", chat),
        ("/v1/chat/completions", {**chat, "stream": True}),
        ("/v1/chat/completions", {**chat, "response_format": {"type": "json_schema", "json_schema": {"name": CANARY}}}),
        ("/tokenize", {"model": ROOMY, "prompt": CANARY}),
        ("/classify", {"input": CANARY}),
        ("/predict", {"inputs": [[CANARY]]}),
        ("/v1/embeddings", {"input": CANARY}),
        ("/translate", {"q": CANARY, "source": "en", "target": "de"}),
        ("/translate", {"q": CANARY, "source": CANARY, "target": CANARY}),
        (f"/{CANARY}", CANARY),
    ):
        ask(server, path, body)
    files = [
        server.log,
        *(one for one in Path(server.state.temp_dir).rglob("*") if one.suffix in (".log", ".err", ".out")),
    ]
    texts = {one: one.read_text(errors="replace") for one in files if one.is_file()}
    assert len(texts) > 10
    assert any(f'"process": "{ROOMY}:bf16"' in text and "is ready" in text for text in texts.values())
    assert [one.name for one, text in texts.items() if CANARY in text] == []
