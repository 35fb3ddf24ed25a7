"""The picture of throughput against latency, out of several runs: how much a server can do, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.objective import NAMES
from loadtest.report.pictures import COLORS, LIMIT, new_figure, plain, plain_logs, save
from loadtest.scenario import Objective
from loadtest.summary import QUANTILES, Distribution, Summary

STYLES = {"p50": ("o-", COLORS[0]), "p99": ("s-", COLORS[1])}


@dataclass(frozen=True, slots=True)
class Point:
    """A run: `label` says what it was asked, such as "8/s"."""

    label: str
    summary: Summary
    kept: bool  # its objective


def draw_curve(points: Sequence[Point], path: Path, objective: Objective | None = None, title: str = "") -> bool:
    """Medians and p99 with their intervals; hollow: the run did not keep its objective. False, and no picture: no run
    has a complete answer."""
    found = sorted((one for one in points if one.summary.overall.completed), key=_throughput)
    names = [name for name in NAMES if any(name in one.summary.overall.latencies for one in found)]
    if not names:
        return False
    figure = new_figure(4.2 * len(names) + 0.6, 4.6)
    figure.suptitle(plain(title), fontsize=10)
    for panel, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        told = [(one, one.summary.overall.latencies[name]) for one in found if name in one.summary.overall.latencies]
        for quantile in STYLES:
            _line(panel, told, quantile)
        limits = _limits(panel, objective, name)
        shown = [getattr(of, quantile).value for _, of in told for quantile in STYLES]
        plain_logs(panel, "y", [*shown, *limits])
        panel.margins(x=0.08, y=0.1)
        panel.set_xlabel(_unit(found), fontsize=9)
        panel.set_ylabel(f"{NAMES[name]}, ms", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, ncols=2)
    save(figure, path)
    return True


def _line(panel: Any, told: Sequence[tuple[Point, Distribution]], quantile: str) -> None:
    style, color = STYLES[quantile]
    at = [_throughput(one) for one, _ in told]
    estimates = [getattr(of, quantile) for _, of in told]
    values = [estimate.value for estimate in estimates]
    # A bound that cannot be given is drawn as none: the legend says how many runs lack one.
    below = [0.0 if estimate.low is None else estimate.value - estimate.low for estimate in estimates]
    above = [0.0 if estimate.high is None else estimate.high - estimate.value for estimate in estimates]
    open_ = sum(estimate.high is None for estimate in estimates)
    label = quantile + (f" ({open_} without an upper bound)" if open_ else "")
    panel.errorbar(at, values, (below, above), fmt=style, ms=0, color=color, capsize=2, linewidth=1)
    panel.plot(at, values, style, ms=5, color=color, label=label)
    broken = [(x, y) for x, y, (one, _) in zip(at, values, told, strict=True) if not one.kept]
    if broken:
        panel.plot(*zip(*broken, strict=True), style[0], ms=5, mfc="white", mec=color,
                   label=f"{quantile}, objective not kept")  # fmt: skip
    if quantile == "p50":
        for x, y, (one, _) in zip(at, values, told, strict=True):
            panel.annotate(plain(one.label), (x, y), (4, -10), textcoords="offset points", fontsize=7)


def _limits(panel: Any, objective: Objective | None, name: str) -> list[float]:
    limits = None if objective is None else getattr(objective, f"{name}_ms")
    found = {quantile: getattr(limits, quantile) for quantile in QUANTILES if limits and getattr(limits, quantile)}
    for quantile, limit in found.items():
        panel.axhline(limit, color=LIMIT, linestyle="--", linewidth=1, label=f"{quantile} at most {limit:g} ms")
    return list(found.values())


def _throughput(one: Point) -> float:
    overall = one.summary.overall
    return overall.output_tokens_per_s or overall.items_per_s or overall.requests_per_s


def _unit(points: Sequence[Point]) -> str:
    overall = points[0].summary.overall
    return "output tokens/s" if overall.output_tokens_per_s else "texts/s" if overall.items_per_s else "requests/s"
