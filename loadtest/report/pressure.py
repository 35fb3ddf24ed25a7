"""What a server told of the load on it: requests that run and that wait, the share of its KV cache in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.report.pictures import COLORS, plain

RUNNING, WAITING, KV = "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"
Samples = Sequence[Mapping[str, Any]]


def told(samples: Samples, *names: str) -> bool:
    """Whether the server has any of these metrics."""
    return any(name in sample["metrics"] for sample in samples for name in names)


def draw_requests(panel: Any, samples: Samples) -> None:
    """Of all models together."""
    for name, label, color in ((RUNNING, "run", "#2ca02c"), (WAITING, "wait", "#ff7f0e")):
        found = [(one["at_s"], sum(one["metrics"][name].values())) for one in samples if name in one["metrics"]]
        if found:
            panel.step(*zip(*found, strict=True), where="post", color=color, linewidth=1, label=label)
    panel.set_ylim(bottom=0)
    panel.set_ylabel("requests in\nthe server")
    panel.grid(alpha=0.3)


def draw_cache(panel: Any, samples: Samples, colors: Mapping[str, tuple[str, str]]) -> None:
    """A line for each that has a cache. `colors`: "model/variant" -> (its name here, its colour); others take the last
    ones of all colours."""
    keys = sorted({key for one in samples for key in one["metrics"].get(KV, {})})
    for number, key in enumerate(keys):
        name, color = colors.get(key, (plain(key), COLORS[-1 - number % len(COLORS)]))
        found = [(one["at_s"], 100 * one["metrics"][KV][key]) for one in samples if key in one["metrics"].get(KV, {})]
        panel.step(*zip(*found, strict=True), where="post", color=color, linewidth=1, label=name)
    panel.set_ylim(0, 100)
    panel.set_ylabel("KV cache, %")
    panel.grid(alpha=0.3)
