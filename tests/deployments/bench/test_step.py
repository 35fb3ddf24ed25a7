"""A step of load: its plan, its client against a small server, its figures, its picture."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from deployments.bench.open_loop import Asked, Job, Phase, ask_all, job_from, plan
from deployments.bench.step import Step, moves, per_second, percentiles, summaries
from deployments.bench.step_picture import draw
from deployments.bench.watch import Sample, parsed, sample

PHASES = (Phase(10, 2), Phase(20, 10), Phase(5, 0))


def test_the_plan_is_the_same_for_a_seed_and_keeps_to_its_phases() -> None:
    due = plan(PHASES, seed=3)
    assert due == plan(PHASES, seed=3) != plan(PHASES, seed=4)
    assert due == sorted(due)
    assert 8 < sum(at < 10 for at in due) < 35
    assert 140 < sum(10 <= at < 30 for at in due) < 260
    assert max(due) < 30, "a phase without requests"


def test_a_job_survives_its_way_to_the_client() -> None:
    job = Job(8000, "m", 4, 8, PHASES, seed=5, start_s=1.5)
    assert job_from(json.dumps(asdict(job))) == job


async def serve_streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers prompts that begin with an even token slowly, refuses the others."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    body = await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
    first = int(body.partition(b'"prompt": [')[2].partition(b",")[0])
    if first % 2:
        writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\n{}")
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Stageline-Variant: bf16\r\n\r\ndata: {}\n\n")
        await writer.drain()
        await asyncio.sleep(0.3)
        writer.write(b'data: {"usage": {"completion_tokens": 7}}\n\ndata: [DONE]\n\n')
    writer.close()


async def test_the_client_asks_on_time_whatever_the_answers_take() -> None:
    async with await asyncio.start_server(serve_streams, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        job = Job(port, "m", 4, 7, (Phase(0.5, 20),), start_s=time.time())
        asked = await ask_all(job)
        ended = time.time() - job.start_s
    assert len(asked) > 3
    assert ended < 5, "they did not wait for each other"
    for number, one in enumerate(asked):
        if number % 2:
            assert (one.status, one.tokens, one.first_s) == (503, 0, None)
        else:
            assert (one.status, one.variant, one.tokens, one.error) == (200, "bf16", 7, "")
            assert one.first_s is not None
            assert one.end_s is not None
            assert one.due_s <= one.first_s <= one.end_s - 0.25
            assert sum(count for _, count in one.arrivals) == 3


async def test_a_server_that_is_gone_is_a_failure_and_no_crash() -> None:
    job = Job(1, "m", 4, 7, (Phase(0.2, 20),), start_s=time.time())
    assert all(one.status == 0 and "Error" in one.error for one in await ask_all(job))


def answered(due_s: float, variant: str, first_s: float) -> Asked:
    return Asked(due_s, 200, variant, due_s + first_s, due_s + first_s + 0.9, 10, "", [(due_s + first_s, 4)])


STEP = Step(low=1, high=2, before=2, during=2, after=2, tokens=10)
ASKED = [
    answered(0.5, "bf16", 0.1),
    answered(2.5, "bf16", 0.2),
    answered(3.0, "int8-dynamic", 0.4),
    Asked(3.5, 503),
    answered(4.5, "bf16", 0.1),
]
SAMPLES = [
    Sample(at, {"bf16": 1, "int8-dynamic": count}, {})
    for at, count in ((0.0, 0), (1.0, 0), (2.5, 1), (3.5, 2), (4.5, 1))
]


def test_the_figures_of_the_phases() -> None:
    before, during, after = summaries(STEP, ASKED, SAMPLES)
    assert (before.requests, during.requests, after.requests) == (1, 3, 1)
    assert (during.refused, during.failed) == (1, 0)
    assert during.variants == {"bf16": 1, "int8-dynamic": 1}
    assert during.offered_tokens_per_s == 15
    assert during.answered_tokens_per_s == 10
    assert during.ttft_ms == {"p50": pytest.approx(400), "p95": pytest.approx(400)}
    assert before.tpot_ms["p50"] == pytest.approx(100)
    assert during.most_replicas == {"bf16": 1, "int8-dynamic": 2}


def test_tokens_and_replicas_over_time() -> None:
    assert per_second(ASKED) == [10, 0, 10, 10, 10]
    assert [(one["at_s"], one["replicas"]) for one in moves(SAMPLES) if one["variant"] == "int8-dynamic"] == [
        (0.0, 0),
        (2.5, 1),
        (3.5, 2),
        (4.5, 1),
    ]
    assert percentiles([]) == {}
    assert percentiles([float(i) for i in range(100)]) == {"p50": 50, "p95": 95}


def test_what_is_kept_of_status_and_metrics() -> None:
    exposition = (
        "# HELP x y\n"
        'vllm:num_requests_running{engine="bf16",model_name="m",replica="a"} 3.0\n'
        'vllm:num_requests_running{engine="bf16",model_name="m",replica="b"} 4.0\n'
        'vllm:num_requests_running{engine="bf16",model_name="other"} 9.0\n'
        'vllm:time_to_first_token_seconds_sum{engine="bf16",model_name="m"} 9.0\n'
    )
    assert parsed(exposition, "m") == {"vllm:num_requests_running": {"bf16": 7.0}}
    status = {"models": [{"name": "m", "variants": [{"name": "bf16", "state": "asleep", "replicas": []}]}]}
    found = sample(1.0, "m", status, "")
    assert (found.replicas, found.states) == ({"bf16": 0}, {"bf16": "asleep"})


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = {
        "model": "m",
        "cores": 2,
        "commit": "abc",
        "step": asdict(STEP),
        "variants": [{"name": "bf16"}, {"name": "int8-dynamic"}],
        "answered_tokens_per_s": per_second(ASKED),
        "requests": [asdict(one) for one in ASKED],
        "samples": [asdict(one) for one in SAMPLES],
    }
    draw(result, tmp_path / "step.png")
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")
