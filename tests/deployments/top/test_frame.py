"""From two moments of a server to a frame."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from deployments.top.draw import TITLES, bar, draw
from deployments.top.frame import Frame, frame, quantile, rate
from deployments.top.snapshot import Snapshot, read
from engine.errors import EngineFailed

STAGE = {
    "index": 0,
    "layers": "0-14",
    "state": "ready",
    "pid": 41,
    "node": "10.0.0.1",
    "busy": 0.75,
    "waiting": 0.2,
    "sending": 0.05,
    "memory_bytes": 1 << 30,
    "restarts": 2,
}
REPLICA = {
    "replica": "ab12cd34",
    "pid": 40,
    "node": "10.0.0.1",
    "state": "ready",
    "running": 3,
    "waiting": 2,
    "kv_cache_usage": 0.5,
    "tokens_per_s": 90.0,
}
STATUS: dict[str, Any] = {
    "models": [
        {
            "name": "m",
            "task": "text-generation",
            "variants": [
                {"name": "bf16", "state": "ready", "replicas": [REPLICA | {"stages": [STAGE], "bubble": 0.25}]},
                {"name": "int8", "state": "asleep", "replicas": []},
            ],
        },
        {
            "name": "c",
            "task": "text-classification",
            "variants": [
                {
                    "name": "fp32",
                    "state": "ready",
                    "replicas": [
                        {"replica": "ffff", "pid": 5, "node": "n", "state": "ready", "running": 0, "waiting": 0}
                    ],
                }
            ],
        },
    ]
}


def page(requests: int, tokens: int, slow: int, ready: int = 1) -> str:
    """A page after so many requests and tokens, `slow` of the requests taking 2 to 3 s, the others 1 to 2 s."""
    labels = 'model_name="m",engine="bf16"'
    buckets = {"1.0": 0, "2.0": requests - slow, "3.0": requests, "+Inf": requests}
    histogram = "".join(
        f'vllm:{name}_bucket{{{labels},le="{bound}"}} {count}\n'
        for name in ("e2e_request_latency_seconds", "time_to_first_token_seconds")
        for bound, count in buckets.items()
    )
    return (
        f"stageline:ready {ready}\n"
        f'vllm:request_success_total{{{labels},finished_reason="stop"}} {requests}\n'
        f'vllm:request_success_total{{{labels},finished_reason="error"}} 1\n'
        f"vllm:generation_tokens_total{{{labels}}} {tokens}\n"
        f'vllm:prompt_tokens_total{{model_name="c",engine="fp32"}} {2 * tokens}\n'
        f"stageline:variant_preferred{{{labels}}} 1\n"
        f"stageline:variant_pressed{{{labels}}} 1\n"
        f'stageline:variant_open_requests{{{labels},front_door="a"}} 4\n'
        f'stageline:variant_open_requests{{{labels},front_door="b"}} 3\n'
        f'stageline:stream_resumptions_total{{{labels},cause="died"}} 2\n'
        'stageline:variant_steps_total{model_name="m",from="bf16",to="int8",reason="objective"} 5\n'
        f'stageline:stalls_total{{{labels},what="step"}} 1\n' + histogram
    )


@pytest.fixture
def two() -> Frame:
    return frame(read(100.0, page(10, 1000, 0), STATUS), read(102.0, page(30, 1200, 5), STATUS))


def test_rates_are_of_the_time_between(two: Frame) -> None:
    variant = two.models[0].variants[0]
    assert (variant.requests_per_s, variant.tokens_per_s) == (10.0, 100.0)
    assert two.models[1].variants[0].tokens_per_s == 200.0, "a classifier's are those that it read"
    assert (two.requests_per_s, two.tokens_per_s, two.seconds) == (10.0, 300.0, 2.0)


def test_latencies_are_of_what_ended_between(two: Frame) -> None:
    latency = two.models[0].variants[0].latency
    assert latency.p50 == pytest.approx(1 + 10 / 15)  # 20 ended, 15 of them within 1 to 2 s
    assert latency.p95 == pytest.approx(2 + 4 / 5)
    assert two.models[1].variants[0].latency.p50 is None
    assert two.models[1].variants[0].first is None


def test_what_is_there_now(two: Frame) -> None:
    model, variant = two.models[0], two.models[0].variants[0]
    assert (model.steps, model.failed, model.refused) == (5, 1, 0)
    assert (variant.preferred, variant.pressed, variant.open, variant.resumed) == (True, True, 7, 2)
    assert (variant.running, variant.waiting, variant.kv) == (3, 2, 0.5)
    assert (two.ready, two.stalls) == (True, 1)
    (replica,) = variant.replicas
    assert (replica.name, replica.process, replica.bubble) == ("ab12cd34", "40@10.0.0.1", 0.25)
    (stage,) = replica.stages
    assert (stage.layers, stage.busy, stage.waiting, stage.restarts) == ("0-14", 0.75, 0.2, 2)


def test_ready_where_all_front_doors_are() -> None:
    now = read(1.0, 'stageline:ready{front_door="a"} 1\nstageline:ready{front_door="b"} 0\n', STATUS)
    assert not frame(now, now).ready


def test_a_counter_that_fell_began_again() -> None:
    assert (
        rate(read(0.0, page(30, 900, 0), STATUS), read(2.0, page(4, 100, 0), STATUS), "vllm:generation_tokens_total")
        == 50
    )
    assert quantile(0.5, {1.0: 9.0, math.inf: 9.0}, {1.0: 2.0, math.inf: 2.0}) == 0.5


def test_no_time_between_is_no_rate() -> None:
    now = read(5.0, page(30, 900, 0), STATUS)
    assert frame(now, now).requests_per_s == 0.0


def test_quantiles() -> None:
    nothing = {1.0: 0.0, math.inf: 0.0}
    assert quantile(0.95, nothing, nothing) is None
    assert quantile(0.95, {}, {}) is None
    assert quantile(0.5, nothing, {1.0: 0.0, math.inf: 3.0}) == 1.0, "more than the last bound"
    assert quantile(1.0, {}, {1.0: 4.0, 2.0: 4.0, math.inf: 4.0}) == 1.0


def text_of(two: Frame, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(draw(two, "http://127.0.0.1:8001", "q ends it"))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_a_frame_as_text(two: Frame) -> None:
    lines = text_of(two, 160).splitlines()
    assert "ready  10.0 requests/s  300 tokens/s  over 2.0 s" in lines[0]
    (bf16,) = (line for line in lines if line.startswith(">! bf16"))
    assert bf16.split()[2:9] == ["ready", "7", "3", "2", "50%", "10.0", "100"]
    assert "1.7/2.8s" in bf16
    assert any("stage 0: 0-14" in line and "75% busy" in line and "replaced 2x" in line for line in lines)
    assert any("int8" in line and "asleep" in line for line in lines)
    assert lines[-1] == "q ends it"


@pytest.mark.parametrize("width", [20, 60, 80, 300])
def test_any_width_will_do(two: Frame, width: int) -> None:
    assert max(len(line) for line in text_of(two, width).splitlines()) <= width


def test_in_80_columns_names_and_figures_stay_whole(two: Frame) -> None:
    lines = text_of(two, 80).splitlines()
    assert any(line.split() == list(TITLES) for line in lines), lines
    assert any("1.7/2.8s" in line for line in lines)


def test_bars() -> None:
    assert (bar(0.0), bar(0.5), bar(7.0)) == ("░" * 8, "████░░░░", "█" * 8)


def test_what_does_not_answer_as_stageline_does() -> None:
    for text, status in (("<html>", STATUS), ("", {}), ("", {"models": None})):
        with pytest.raises(EngineFailed, match="does not answer as Stageline does"):
            read(0.0, text, status)
    assert read(0.0, "", {"models": []}) == Snapshot(0.0, {}, [])
