"""Reads a stream of events to its end, whatever that is, with the time of each."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

READ_TIMEOUT_S = 60.0  # without a single event


@dataclass(slots=True)
class Choice:
    """One answer: its text, its log-probabilities, how it ended, and when it grew."""

    text: str = ""
    finish_reason: str | None = None
    logprobs: list[Any] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Told:
    """All that a caller is told. Times are `time.time()`; `error` is empty where all went well."""

    started_s: float
    choices: dict[int, Choice] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    done: bool = False
    error: str = ""
    ended_s: float = 0.0

    @property
    def tokens(self) -> int:
        return int((self.usage or {}).get("completion_tokens", 0))

    @property
    def begun_s(self) -> float | None:
        """When the first of its answers began."""
        return min((one.arrivals[0] for one in self.choices.values() if one.arrivals), default=None)

    @property
    def content(self) -> tuple[Any, ...]:
        """What must be the same each time. (How much of a prompt was found in a cache may differ.)"""
        usage = {name: value for name, value in (self.usage or {}).items() if name.endswith("_tokens")}
        choices = [(i, one.text, one.finish_reason, one.logprobs) for i, one in sorted(self.choices.items())]
        return choices, usage, self.done

    def take(self, event: Mapping[str, Any], now: float) -> None:
        """One event's object."""
        if "error" in event:
            self.error = json.dumps(event["error"])
            return
        self.usage = event.get("usage") or self.usage
        for shown in event["choices"]:
            choice = self.choices.setdefault(shown["index"], Choice())
            choice.text += shown["text"]
            choice.finish_reason = shown["finish_reason"] or choice.finish_reason
            if shown.get("logprobs"):
                parts = shown["logprobs"]
                columns = (parts[name] for name in ("tokens", "token_logprobs", "text_offset", "top_logprobs"))
                choice.logprobs += zip(*columns, strict=True)
            choice.arrivals.append(now)


async def read(client: httpx.AsyncClient, url: str, body: Mapping[str, Any], leave_after: int | None = None) -> Told:
    """Asks and reads to the end, or leaves after so many lines. What goes wrong is in the result's `error`."""
    told = Told(time.time())
    try:
        async with client.stream("POST", f"{url}/v1/completions", json=body) as response:
            if response.status_code != 200:
                told.error = f"status {response.status_code}: {(await response.aread()).decode()[:300]}"
            lines = 0
            async for line in response.aiter_lines():
                lines += 1
                if lines == leave_after:
                    return told
                if line == "data: [DONE]":
                    told.done = True
                elif line.startswith("data: "):
                    told.take(json.loads(line[6:]), time.time())
    except (httpx.HTTPError, ValueError) as error:
        told.error = told.error or f"{type(error).__name__}: {error}"
    told.ended_s = time.time()
    if not told.error and not told.done:
        told.error = "the stream ended without its end mark"
    return told
