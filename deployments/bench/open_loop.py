"""A client that does not wait: it asks when the plan says, however slow the answers are. Runs in a process of its own.

    python -m deployments.bench.open_loop < job.json

prints one line of JSON for each request when all are answered, in the order of the plan.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from deployments.bench.client import count_tokens
from engine.errors import EngineFailed

READ_TIMEOUT_S = 180.0
VARIANT_HEADER = b"x-stageline-variant:"


@dataclass(frozen=True, slots=True)
class Phase:
    """So many seconds with so many requests a second."""

    seconds: float
    rate: float


@dataclass(frozen=True, slots=True)
class Job:
    """Answers of `tokens` tokens to prompts of `prompt` tokens, asked in `phases` from the time `start_s` on."""

    port: int
    model: str
    prompt: int
    tokens: int
    phases: tuple[Phase, ...]
    seed: int = 0
    start_s: float = 0.0  # time.time()
    host: str = "127.0.0.1"


@dataclass(slots=True)
class Asked:
    """One request. Times are seconds from the job's start; `due_s` is the plan's, from which latencies count."""

    due_s: float
    status: int = 0  # 0: no HTTP answer
    variant: str = ""
    first_s: float | None = None
    end_s: float | None = None
    tokens: int = 0
    error: str = ""
    arrivals: list[tuple[float, int]] = field(default_factory=list)  # (time, events of the stream)


def plan(phases: Sequence[Phase], seed: int) -> list[float]:
    """When to ask, in seconds from the start: uneven, as callers who know nothing of each other are, and always the
    same for a seed."""
    draw = random.Random(seed)
    due, begin = [], 0.0
    for phase in phases:
        at = begin
        while phase.rate > 0 and (at := at + draw.expovariate(phase.rate)) < begin + phase.seconds:
            due.append(at)
        begin += phase.seconds
    return due


async def ask(job: Job, number: int, due_s: float) -> Asked:
    """One streamed completion; what goes wrong is in the result."""
    asked = Asked(due_s)
    await asyncio.sleep(max(0.0, job.start_s + due_s - time.time()))
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            await _read(job, number, asked)
    except (OSError, TimeoutError, EngineFailed, asyncio.IncompleteReadError, ValueError) as error:
        asked.error = f"{type(error).__name__}: {error}"[:200]
    return asked


async def _read(job: Job, number: int, asked: Asked) -> None:
    reader, writer = await asyncio.open_connection(job.host, job.port)
    try:
        writer.write(_request(job, number))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        asked.status = int(head.split(b" ", 2)[1])
        asked.variant = head.partition(VARIANT_HEADER)[2].partition(b"\r\n")[0].strip().decode()
        tail = b""
        while data := await reader.read(1 << 16):
            now = time.time() - job.start_s
            if asked.status == 200 and (events := data.count(b"data: ")):
                asked.first_s = now if asked.first_s is None else asked.first_s
                asked.arrivals.append((round(now, 3), events))
            tail = (tail + data)[-1024:]
        asked.end_s = time.time() - job.start_s
        if asked.status == 200:
            asked.tokens = count_tokens(tail)
        else:
            asked.error = tail.decode(errors="replace")[-200:]
    finally:
        writer.close()


def _request(job: Job, number: int) -> bytes:
    body = json.dumps(
        {
            "model": job.model,
            "prompt": [1000 + number % 30_000, *(500 + (number + j) % 997 for j in range(job.prompt - 1))],
            "max_tokens": job.tokens,
            "temperature": 0,
            "seed": job.seed,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {job.host}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask_all(job: Job) -> list[Asked]:
    due = plan(job.phases, job.seed)
    return await asyncio.gather(*(ask(job, number, at) for number, at in enumerate(due)))


def job_from(text: str) -> Job:
    given: dict[str, Any] = json.loads(text)
    return Job(**{**given, "phases": tuple(Phase(**phase) for phase in given["phases"])})


def main() -> None:
    for asked in asyncio.run(ask_all(job_from(sys.stdin.read()))):
        print(json.dumps(asdict(asked)))


if __name__ == "__main__":
    main()
