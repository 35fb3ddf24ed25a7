"""What a server tells of itself over time: its status and its metrics, looked at again and again."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx

INTERVAL_S = 0.25
TIMEOUT_S = 5.0
KEPT = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:generation_tokens_total", "stageline:")


@dataclass(frozen=True, slots=True)
class Sample:
    """At `at_s` seconds from the start, by variant: replicas that answer, and what was kept of the metrics."""

    at_s: float
    replicas: dict[str, int]
    states: dict[str, str]
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)  # name -> variant -> value


async def watch(url: str, model: str, start_s: float, ended: asyncio.Event) -> list[Sample]:
    """Samples until `ended`. A moment at which the server does not answer is left out."""
    samples: list[Sample] = []
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        due = time.monotonic()
        while not ended.is_set():
            at_s = time.time() - start_s
            try:
                status, metrics = await asyncio.gather(client.get(f"{url}/status"), client.get(f"{url}/metrics"))
                samples.append(sample(at_s, model, status.json(), metrics.text))
            except (httpx.HTTPError, ValueError, KeyError, StopIteration):
                pass
            due = max(due + INTERVAL_S, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
    return samples


def sample(at_s: float, model: str, status: dict[str, Any], metrics: str) -> Sample:
    """Out of the two answers. Raises KeyError and StopIteration for a status without the model."""
    variants = next(one for one in status["models"] if one["name"] == model)["variants"]
    return Sample(
        round(at_s, 3),
        {variant["name"]: len(variant["replicas"]) for variant in variants},
        {variant["name"]: variant["state"] for variant in variants},
        parsed(metrics, model),
    )


def parsed(exposition: str, model: str) -> dict[str, dict[str, float]]:
    """name -> variant -> value, of the gauges and counters of one model that are kept."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in exposition.splitlines():
        if not line.startswith(KEPT) or f'model_name="{model}"' not in line:
            continue
        name, _, rest = line.partition("{")
        labels, _, value = rest.rpartition("} ")
        if name.endswith(("_bucket", "_created", "_sum", "_count")):
            continue
        variant = labels.partition('engine="')[2].partition('"')[0]
        found[name][variant] += float(value)
    return {name: dict(values) for name, values in found.items()}
