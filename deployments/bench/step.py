"""A step of load through HTTP: little, much, little again; and what the server does about it, over time."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from deployments.bench.machine import provenance
from deployments.bench.open_loop import Asked, Job, Phase
from deployments.bench.run import server
from deployments.bench.watch import Sample, watch
from deployments.cli.fetch import fetch_models
from deployments.settings import Settings
from engine.errors import EngineFailed

LEAD_S = 2.0  # from the client's start to its first request: it has to start, too
END_S = 240.0  # after the last request, for what is still being answered


@dataclass(frozen=True, slots=True)
class Step:
    """`low` requests a second for `before` seconds, `high` for `during`, `low` for `after`; each of `tokens` tokens
    after a prompt of `prompt`."""

    low: float
    high: float
    before: float = 30.0
    during: float = 60.0
    after: float = 120.0
    prompt: int = 32
    tokens: int = 128
    seed: int = 0

    @property
    def phases(self) -> tuple[Phase, Phase, Phase]:
        return Phase(self.before, self.low), Phase(self.during, self.high), Phase(self.after, self.low)


def bench_step(settings: Settings, config: Path, model: str, step: Step, console: Console) -> dict[str, Any]:
    """Starts a server, lets the step happen, ends the server. The result has every request and every sample."""
    chosen = next(one for one in settings.models if one.name == model)
    fetch_models(settings, console)
    console.print("Starting the server ...")
    with server(config) as (port, start_s):
        job = Job(port, model, step.prompt, step.tokens, step.phases, step.seed)
        console.print(f"Ready after {start_s:.0f} s. {sum(phase.seconds for phase in step.phases):.0f} s of load ...")
        asked, samples = asyncio.run(_happen(job))
    return {
        "benchmark": "step",
        **provenance(),
        "model": model,
        "variants": [
            {"name": one.name, "replicas": {"min": one.replicas.min, "max": one.replicas.max}}
            for one in chosen.variants
        ],
        "step": asdict(step),
        "seconds_to_ready": round(start_s, 1),
        "phases": [asdict(one) for one in summaries(step, asked, samples)],
        "moves": moves(samples),
        "answered_tokens_per_s": per_second(asked),
        "requests": [asdict(replace(one, arrivals=[])) for one in asked],
        "samples": [asdict(one) for one in samples],
    }


async def _happen(job: Job) -> tuple[list[Asked], list[Sample]]:
    job = replace(job, start_s=time.time() + LEAD_S)
    ended = asyncio.Event()
    watching = asyncio.create_task(watch(f"http://127.0.0.1:{job.port}", job.model, job.start_s, ended))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deployments.bench.open_loop",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LEAD_S + sum(phase.seconds for phase in job.phases) + END_S):
            told, _ = await process.communicate(json.dumps(asdict(job)).encode())
    except TimeoutError:
        process.kill()
        raise EngineFailed("the client of the benchmark did not end in time") from None
    finally:
        ended.set()
    samples = await watching
    if process.returncode:
        raise EngineFailed(f"the client of the benchmark ended with status {process.returncode}")
    return [Asked(**json.loads(line)) for line in told.splitlines()], samples


@dataclass(frozen=True, slots=True)
class Summary:
    """One phase: requests that were due in it. Latencies in milliseconds, from when a request was due."""

    offered_tokens_per_s: float
    answered_tokens_per_s: float
    requests: int
    refused: int
    failed: int
    variants: dict[str, int]
    ttft_ms: dict[str, float]
    tpot_ms: dict[str, float]
    most_replicas: dict[str, int]


def summaries(step: Step, asked: Sequence[Asked], samples: Sequence[Sample]) -> list[Summary]:
    """One for each phase."""
    found, begin = [], 0.0
    answered = per_second(asked)
    for phase in step.phases:
        end = begin + phase.seconds
        due = [one for one in asked if begin <= one.due_s < end]
        within = [one for one in samples if begin <= one.at_s < end]
        found.append(
            Summary(
                offered_tokens_per_s=round(len(due) * step.tokens / phase.seconds, 1),
                answered_tokens_per_s=round(sum(answered[math.ceil(begin) : math.floor(end)]) / phase.seconds, 1),
                requests=len(due),
                refused=sum(one.status in (429, 503) for one in due),
                failed=sum(bool(one.error) and one.status not in (429, 503) for one in due),
                variants=dict(Counter(one.variant for one in due if one.tokens)),
                ttft_ms=percentiles([1000 * (one.first_s - one.due_s) for one in due if one.first_s is not None]),
                tpot_ms=percentiles(
                    [
                        1000 * (one.end_s - one.first_s) / (one.tokens - 1)
                        for one in due
                        if one.first_s is not None and one.end_s is not None and one.tokens > 1
                    ]
                ),
                most_replicas=most_replicas(within),
            )
        )
        begin = end
    return found


def most_replicas(samples: Sequence[Sample]) -> dict[str, int]:
    """By variant."""
    names = {name for one in samples for name in one.replicas}
    return {name: max(one.replicas.get(name, 0) for one in samples) for name in sorted(names)}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50 and p95; empty where there is nothing."""
    if not values:
        return {}
    ordered = sorted(values)
    return {f"p{share}": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 1) for share in (50, 95)}


def moves(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """When the number of replicas that answer changed."""
    found: list[dict[str, Any]] = []
    before: dict[str, int] = {}
    for one in samples:
        found += [
            {"at_s": one.at_s, "variant": name, "replicas": count}
            for name, count in one.replicas.items()
            if before.get(name) != count
        ]
        before = one.replicas
    return found


def per_second(asked: Sequence[Asked]) -> list[float]:
    """Tokens that came in each second from the start on. (An event of a stream holds one token or some; a request's
    tokens are spread over its events evenly.)"""
    tokens: dict[int, float] = defaultdict(float)
    for one in asked:
        events = sum(count for _, count in one.arrivals)
        for at, count in one.arrivals:
            tokens[int(at)] += one.tokens * count / events
    return [round(tokens[second], 1) for second in range(max(tokens, default=-1) + 1)]
