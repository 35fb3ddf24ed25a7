"""What a server tells of itself while it is under load: its status and its metrics, again and again, into a file.

A line of `server.jsonl` is a sample:

    {"at_s": 1.5,
     "models": [{"name": "smollm2", "variants": [
         {"name": "bf16", "state": "ready", "replicas": 2, "starting": 0, "stages": [[1, 1], [1, 0]]}]}],
     "metrics": {"vllm:num_requests_running": {"smollm2/bf16": 3.0}}}

`replicas` are ready; `starting` are those that have told of themselves but are not ready. `stages` has, for each
replica that is a pipeline, 1 for a stage that is ready and 0 for one that is not; it is empty where none is a pipeline.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

INTERVAL_S = 0.5
TIMEOUT_S = 5.0
KEPT = re.compile(
    r"vllm:(num_requests_running|num_requests_waiting|generation_tokens_total|kv_cache_usage_perc"
    r"|num_preemptions_total)|stageline:(?!variant_state|variant_quality|objective_seconds)\w+"
)
LEFT_OUT = ("_bucket", "_created", "_sum", "_count")  # of histograms; and when a counter began
_LINE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\{(?P<labels>.*)\} +(?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def bearer(api_key: str) -> dict[str, str]:
    """The header of a request with a key; none without."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def watch(url: str, start_s: float, path: Path, ended: threading.Event, api_key: str = "") -> None:
    """Samples until `ended`, each written at once. `start_s`: Unix time of the run's start.

    A moment at which the server does not answer is left out. A page that the server does not have is not asked again;
    of a server that has neither, there are no samples. Nothing is raised for what a server does.
    """
    pages = {"/status", "/metrics"}
    asking = httpx.Client(base_url=url, timeout=TIMEOUT_S, headers=bearer(api_key))
    with asking as client, path.open("a", encoding="utf-8") as file:
        due = time.monotonic()
        while pages and not ended.is_set():
            at_s = time.time() - start_s
            told = {page: _ask(client, page) for page in sorted(pages)}
            pages -= {page for page, response in told.items() if response is not None and response.status_code == 404}
            line = _sample(at_s, told.get("/status"), told.get("/metrics"))
            if line is not None:
                file.write(json.dumps(line) + "\n")
                file.flush()
            due = max(due + INTERVAL_S, time.monotonic())
            ended.wait(due - time.monotonic())


def models_of(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Out of `GET /status`. Raises KeyError, TypeError and AttributeError for something else."""
    return [
        {"name": str(model["name"]), "variants": [_variant(one) for one in model["variants"]]}
        for model in status["models"]
    ]


def metrics_of(exposition: str) -> dict[str, dict[str, float]]:
    """name -> "model/variant" -> value, of the gauges and counters that are kept; "model" where a metric knows no
    variant. What a metric has under more labels is added up, except shares of a pipeline's stages, which cannot be."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in exposition.splitlines():
        match = _LINE.match(line)
        if match is None or not KEPT.fullmatch(match["name"]) or match["name"].endswith(LEFT_OUT):
            continue
        labels = dict(_LABEL.findall(match["labels"]))
        if "model_name" not in labels or "replica" in labels:
            continue
        key = "/".join(labels[name] for name in ("model_name", "engine") if name in labels)
        try:
            value = float(match["value"])
        except ValueError:
            continue
        if math.isfinite(value):  # JSON knows no others
            found[match["name"]][key] += value
    return {name: dict(values) for name, values in found.items()}


def _ask(client: httpx.Client, page: str) -> httpx.Response | None:
    try:
        return client.get(page)
    except httpx.HTTPError:
        return None


def _sample(at_s: float, status: httpx.Response | None, metrics: httpx.Response | None) -> dict[str, Any] | None:
    """None where the server has told nothing."""
    models: list[dict[str, Any]] = []
    if status is not None and status.status_code == 200:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # a page, but none of ours
            models = models_of(status.json())
    values = metrics_of(metrics.text) if metrics is not None and metrics.status_code == 200 else {}
    if not models and not values:
        return None
    return {"at_s": round(at_s, 3), "models": models, "metrics": values}


def _variant(told: Mapping[str, Any]) -> dict[str, Any]:
    replicas = told["replicas"]
    ready = sum(one["state"] == "ready" for one in replicas)
    pipelines = [one["stages"] for one in replicas if one.get("stages")]
    return {
        "name": str(told["name"]),
        "state": str(told["state"]),
        "replicas": ready,
        "starting": len(replicas) - ready,
        "stages": [[int(stage["state"] == "ready") for stage in stages] for stages in pipelines],
    }
