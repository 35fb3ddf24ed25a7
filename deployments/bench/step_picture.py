"""The picture of a step: load, replicas, who answered, and how long that took, over the same time."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployments.bench.step import percentiles
from engine.errors import ConfigError

BIN_S = 5.0  # latencies and requests of so long together
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2")  # of variants, in their order


def require_matplotlib() -> None:
    """Raise `ConfigError` where there is nothing to draw with."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("The picture needs matplotlib. Install it with: pip install 'stageline[train]'")


def draw(result: dict[str, Any], path: Path) -> None:
    """`result` is what `bench_step` returns; the file's ending says the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (load, replicas, answers, latency) = pyplot.subplots(4, 1, sharex=True, figsize=(9, 10))
    _load(load, result)
    _replicas(replicas, result)
    _answers(answers, result)
    _latency(latency, result)
    latency.set_xlabel("seconds")
    figure.suptitle(f"{result['model']}, {result['cores']} cores, commit {result['commit']}", fontsize=10)
    for panel in (load, replicas, answers, latency):
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8, loc="upper right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _load(panel: Any, result: dict[str, Any]) -> None:
    step, edges, offered = result["step"], [0.0], []
    for seconds, rate in ((step["before"], "low"), (step["during"], "high"), (step["after"], "low")):
        edges.append(edges[-1] + seconds)
        offered.append(step[rate] * step["tokens"])
    panel.stairs(offered, edges, label="offered", color="black", linewidth=1.5)
    panel.plot(_smooth(result["answered_tokens_per_s"], int(BIN_S)), label="answered", color="#1f77b4")
    panel.set_ylabel("tokens/s")


def _smooth(values: Sequence[float], width: int) -> list[float]:
    """Means of the last `width`."""
    return [sum(values[max(0, i + 1 - width) : i + 1]) / min(width, i + 1) for i in range(len(values))]


def _replicas(panel: Any, result: dict[str, Any]) -> None:
    times = [sample["at_s"] for sample in result["samples"]]
    for order, (name, color) in enumerate(_colors(result).items()):
        counts = [sample["replicas"].get(name, 0) + 0.03 * order for sample in result["samples"]]
        panel.step(times, counts, where="post", label=name, color=color)  # a little apart, or one would hide another
    panel.set_ylabel("replicas that answer")
    panel.set_ylim(bottom=-0.1)


def _answers(panel: Any, result: dict[str, Any]) -> None:
    bins = _bins(result["requests"])
    places = [BIN_S * (i + 0.5) for i in range(len(bins))]
    below = [0.0] * len(bins)
    for name, color in {**_colors(result), "refused or failed": "#bbbbbb"}.items():
        rates = [sum(_answered_by(one) == name for one in group) / BIN_S for group in bins]
        if any(rates):
            panel.bar(places, rates, BIN_S * 0.9, bottom=below, color=color, label=name)
        below = [a + b for a, b in zip(below, rates, strict=True)]
    panel.set_ylabel("requests/s, by variant")


def _answered_by(one: dict[str, Any]) -> str:
    return str(one["variant"]) if one["tokens"] else "refused or failed"


def _latency(panel: Any, result: dict[str, Any]) -> None:
    answered = [one for one in result["requests"] if one["first_s"] is not None]
    groups = [[1000 * (one["first_s"] - one["due_s"]) for one in group] for group in _bins(answered)]
    for name, style in (("p50", "-"), ("p95", "--")):
        points = [(BIN_S * (i + 0.5), percentiles(group)[name]) for i, group in enumerate(groups) if group]
        panel.plot(*zip(*points, strict=True), style, marker=".", color="#d62728", label=f"time to first token, {name}")
    panel.set_yscale("log")
    panel.set_ylabel("milliseconds")


def _bins(asked: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Requests by when they were due."""
    last = max((one["due_s"] for one in asked), default=0.0)
    bins: list[list[dict[str, Any]]] = [[] for _ in range(int(last / BIN_S) + 1)]
    for one in asked:
        bins[int(one["due_s"] / BIN_S)].append(one)
    return bins


def _colors(result: dict[str, Any]) -> dict[str, str]:
    names = [variant["name"] for variant in result["variants"]]
    return {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
