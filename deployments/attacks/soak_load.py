"""Callers of all tasks for as long as it takes, some of whom leave, and what became of each of their requests."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from deployments.attacks.scene import Scene

CALLERS = 8
TIMEOUT_S = 120.0
LEAVES = 0.15  # of the callers of a stream
_RETRY_S = 1.0

How = Literal["answered", "left", "turned away", "lost"]


@dataclass(frozen=True, slots=True)
class Ended:
    """One request. `at_s` by `time.monotonic()`; `units` are tokens or texts."""

    at_s: float
    task: str
    how: How
    units: int
    words: str = ""


class Load:
    """So many callers, from the beginning to the end of the context; then those that wait are answered still."""

    def __init__(self, scene: Scene, seed: int, callers: int = CALLERS) -> None:
        self.scene, self.ended = scene, list[Ended]()
        self._draws = [random.Random(seed + number) for number in range(callers)]
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Load:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=len(self._draws))
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, headers=dict(self.scene.headers))
        self._tasks = [asyncio.create_task(self._call(draw)) for draw in self._draws]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        await self._http.aclose()

    async def _call(self, draw: random.Random) -> None:
        while not self._stopping.is_set():
            task = draw.choice(sorted(self.scene.models))
            ended = await self._one(task, draw)
            self.ended.append(ended)
            if ended.how in ("lost", "turned away"):
                await asyncio.sleep(_RETRY_S)

    async def _one(self, task: str, draw: random.Random) -> Ended:
        path, body = body_for(task, self.scene.models[task], draw)
        leaves = body.get("stream") and draw.random() < LEAVES
        try:
            if body.get("stream"):
                return await self._stream(task, path, body, draw.randint(1, 20) if leaves else None)
            response = await self._http.post(f"{self.scene.url}{path}", json=body)
            how = how_of(response.status_code)
            return Ended(time.monotonic(), task, how, units_of(body) if how == "answered" else 0, response.text[:200])
        except (httpx.HTTPError, ValueError) as error:  # cut, or no JSON
            return Ended(time.monotonic(), task, "lost", 0, f"{type(error).__name__}: {error}")

    async def _stream(self, task: str, path: str, body: Mapping[str, Any], leave_after: int | None) -> Ended:
        events, done, fault = 0, False, ""
        async with self._http.stream("POST", f"{self.scene.url}{path}", json=body) as response:
            if response.status_code != 200:
                words = (await response.aread())[:200].decode(errors="replace")
                return Ended(time.monotonic(), task, how_of(response.status_code), 0, words)
            async for line in response.aiter_lines():
                if not line.startswith("data: "):
                    continue
                if line == "data: [DONE]":
                    done = True
                    break
                if "error" in json.loads(line[6:]):
                    fault = line[:200]
                events += 1
                if leave_after is not None and events >= leave_after:
                    return Ended(time.monotonic(), task, "left", events)
        whole = done and not fault
        return Ended(time.monotonic(), task, "answered" if whole else "lost", events, fault or "" if done else "cut")


def how_of(status: int) -> How:
    """Being turned away by a full queue is an answer, and not one that is lost."""
    return "answered" if status == 200 else "turned away" if status in (429, 503) else "lost"


def body_for(task: str, model: str, draw: random.Random) -> tuple[str, dict[str, Any]]:
    """Path and body of a request of this task."""
    number = draw.randint(0, 10_000)
    match task:
        case "text-generation":
            asked = {"max_tokens": draw.randint(8, 64), "stream": draw.random() < 0.8, "ignore_eos": True}
            return "/v1/completions", {"model": model, "prompt": f"{number}. Once upon a time", "n": 1, **asked}
        case "text-classification":
            return "/classify", {"model": model, "input": [f"My card {number} is lost."] * draw.randint(1, 16)}
        case "translation":
            texts = [f"A man plays {number} guitars."] * draw.randint(1, 4)
            return "/translate", {"model": model, "q": texts, "source": "en", "target": "de"}
        case _:
            return "/v1/embeddings", {"model": model, "input": [f"My card {number} is lost."]}


def units_of(body: Mapping[str, Any]) -> int:
    """Tokens of a completion, texts of the others."""
    asked = body.get("input", body.get("q"))
    return len(asked) if isinstance(asked, list) else int(body.get("max_tokens", 1))
