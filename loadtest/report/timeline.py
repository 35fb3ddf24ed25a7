"""The picture of a run over time: latency of each request, what came and what went out, and what the server was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from loadtest import events
from loadtest.latency import e2e_s, ttft_s
from loadtest.record import Record
from loadtest.report import pressure
from loadtest.report.folder import Mark, Run
from loadtest.report.pictures import LIMIT, bin_width, colors, new_figure, plain, plain_logs, save
from loadtest.report.strip import draw_marks, strip_height
from loadtest.scenario import GENERATING

Draw = Callable[[Any], None]
MANY = 3000  # dots, from which on they are faint


def draw_timeline(run: Run, from_s: float, until_s: float, title: str, path: Path) -> bool:
    """`from_s` to `until_s` is what was measured. False, and no picture, for a run without a request."""
    if not run.records:
        return False
    run = _by_model(run)
    last = max((one.end_s for one in run.records if one.end_s is not None), default=until_s)
    panels = _panels(run, max(last, until_s))
    figure = new_figure(11, sum(height for height, _ in panels) + 0.8)
    figure.suptitle(plain(title), fontsize=10)
    axes = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": [height for height, _ in panels]}
    )[:, 0]
    axes[0].set_xlim(0, max(last, until_s))
    for panel, (_, draw) in zip(axes, panels, strict=True):
        draw(panel)
        panel.tick_params(labelsize=8)
        panel.yaxis.label.set_fontsize(8)
        _unmeasured(panel, from_s, until_s, max(last, until_s))
        _spans(panel, run.marks)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.005, 1.02), frameon=False, borderaxespad=0)
    axes[-1].set_xlabel("seconds from the start (grey: not measured)", fontsize=9)
    figure.align_ylabels(list(axes))
    save(figure, path)
    return True


def _panels(run: Run, last: float) -> list[tuple[float, Draw]]:
    """(height in inches, what draws it), from above."""
    generated = [one for one in run.records if one.kind in GENERATING]
    others = [one for one in run.records if one.kind not in GENERATING]
    palette = _palette(run)
    edges = np.arange(0, last + bin_width(last), bin_width(last))
    found: list[tuple[float, Draw]] = []
    if run.marks:
        found.append((strip_height(run.marks, last), lambda panel: draw_marks(panel, run.marks, last)))
    if generated:
        found.append((2.6, lambda panel: _latency(panel, generated, ttft_s, palette, edges, "time to first token, ms")))
    if others:
        what = "time to the answer, ms"
        found.append(
            (2.6 if not generated else 2.0, lambda panel: _latency(panel, others, e2e_s, palette, edges, what))
        )
    found.append((1.5, lambda panel: _requests(panel, run.records, edges)))
    if generated:
        found.append((1.3, lambda panel: _rate(panel, events.output_tokens(generated), edges, "tokens/s")))
    if others:
        found.append((1.3, lambda panel: _rate(panel, events.items(others), edges, "texts/s")))
    if pressure.told(run.samples, pressure.RUNNING, pressure.WAITING):
        found.append((1.3, lambda panel: pressure.draw_requests(panel, run.samples)))
    if pressure.told(run.samples, pressure.KV):
        named = {"/".join(key): shown for key, shown in palette.items()}
        found.append((1.3, lambda panel: pressure.draw_cache(panel, run.samples, named)))
    if any(sample["models"] for sample in run.samples):
        found.append((1.3, lambda panel: _counts(panel, run.samples, palette, _replicas, "replicas ready")))
    if any(_has_stages(sample) for sample in run.samples):
        found.append((1.3, lambda panel: _counts(panel, run.samples, palette, _stages, "stages ready")))
    return found


def _by_model(run: Run) -> Run:
    """A request may ask for "model:variant". It belongs to the model, where the server tells of one of that name."""
    models = {model["name"] for sample in run.samples for model in sample["models"]}
    records = (
        replace(one, model=name) if one.model not in models and (name := one.model.partition(":")[0]) in models else one
        for one in run.records
    )
    return replace(run, records=tuple(records))


def _palette(run: Run) -> dict[tuple[str, str], tuple[str, str]]:
    """(model, variant) -> (its name here, its colour)."""
    told = [(model["name"], variant["name"]) for sample in run.samples for model, variant in _variants(sample)]
    asked = sorted({(one.model, one.variant) for one in run.records if not one.failure})
    keys = list(dict.fromkeys([*told, *asked]))
    several = len({model for model, _ in keys}) > 1
    names = [plain(" ".join(filter(None, key)) if several else key[1] or key[0]) for key in keys]
    palette = colors(names)
    return {key: (name, palette[name]) for key, name in zip(keys, names, strict=True)}


def _latency(
    panel: Any,
    records: Sequence[Record],
    latency: Callable[[Record], float | None],
    palette: Mapping[tuple[str, str], tuple[str, str]],
    edges: Any,
    label: str,
) -> None:
    points = [(one, 1000 * value) for one in records if (value := latency(one)) is not None]
    alpha = 0.6 if len(points) < MANY else 0.15
    for key, (name, color) in palette.items():
        own = [(one.scheduled_s, value) for one, value in points if (one.model, one.variant) == key]
        if own:
            panel.scatter(*zip(*own, strict=True), s=7, alpha=alpha, linewidths=0, color=color, label=name)
    for name, q, style in (("median", 0.5, "-"), ("p95", 0.95, "--")):
        at, values = _running(points, edges, q)
        panel.plot(at, values, style, marker=".", ms=2, color="black", linewidth=1, label=f"running {name}")
    failed = [one.scheduled_s for one in records if one.failure]
    if failed:
        # Where their time would be says nothing: a refusal is quick, and bad. They stand at the panel's upper edge.
        panel.plot(failed, [0.96] * len(failed), "x", ms=5, color=LIMIT, transform=panel.get_xaxis_transform(),
                   label=f"failed ({len(failed)})")  # fmt: skip
    plain_logs(panel, "y", [value for _, value in points])
    panel.margins(y=0.12)
    panel.set_ylabel(label)
    panel.grid(alpha=0.3)


def _running(points: Sequence[tuple[Record, float]], edges: Any, q: float) -> tuple[Any, list[float]]:
    """Of each bin; where one is empty, the line is broken."""
    at = np.array([one.scheduled_s for one, _ in points])
    values = np.array([value for _, value in points])
    order = np.digitize(at, edges) - 1
    bins = (values[order == one] for one in range(len(edges) - 1))
    return (edges[:-1] + edges[1:]) / 2, [float(np.quantile(one, q)) if len(one) else math.nan for one in bins]


def _requests(panel: Any, records: Sequence[Record], edges: Any) -> None:
    came = np.array([one.scheduled_s for one in records])
    panel.stairs(events.binned((came, np.ones(len(came))), edges), edges, color="black", label="should be sent")
    panel.stairs(events.binned(events.answers(records), edges), edges, color="#2ca02c", label="answered")
    ends = np.array([one.scheduled_s if one.end_s is None else one.end_s for one in records if one.failure])
    if len(ends):
        failures = events.binned((ends, np.ones(len(ends))), edges)
        panel.stairs(failures, edges, color=LIMIT, fill=True, alpha=0.5, label="failed")
    panel.set_ylim(bottom=0)
    panel.set_ylabel("requests/s")
    panel.grid(alpha=0.3)


def _rate(panel: Any, times: events.Times, edges: Any, label: str) -> None:
    panel.stairs(events.binned(times, edges), edges, color="#1f77b4", fill=True, alpha=0.4)
    panel.set_ylim(bottom=0)
    panel.set_ylabel(label)
    panel.grid(alpha=0.3)


def _counts(
    panel: Any,
    samples: Sequence[Mapping[str, Any]],
    palette: Mapping[tuple[str, str], tuple[str, str]],
    count: Callable[[Mapping[str, Any]], int],
    label: str,
) -> None:
    told = [sample for sample in samples if sample["models"]]
    for order, (key, (name, color)) in enumerate(palette.items()):
        found = [
            (sample["at_s"], count(variant))
            for sample in told
            for model, variant in _variants(sample)
            if (model["name"], variant["name"]) == key
        ]
        if any(value for _, value in found):
            # A little apart, or one would hide another.
            steps = [value + 0.04 * order for _, value in found]
            panel.step([at for at, _ in found], steps, where="post", color=color, label=name)
    panel.set_ylim(bottom=0)
    panel.margins(y=0.15)
    panel.yaxis.get_major_locator().set_params(integer=True)
    panel.set_ylabel(label)
    panel.grid(alpha=0.3)


def _variants(sample: Mapping[str, Any]) -> Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return ((model, variant) for model in sample["models"] for variant in model["variants"])


def _replicas(variant: Mapping[str, Any]) -> int:
    return int(variant["replicas"])


def _stages(variant: Mapping[str, Any]) -> int:
    return sum(sum(stages) for stages in variant["stages"])


def _has_stages(sample: Mapping[str, Any]) -> bool:
    return any(variant["stages"] for _, variant in _variants(sample))


def _unmeasured(panel: Any, from_s: float, until_s: float, last: float) -> None:
    for begin, end in ((0.0, from_s), (until_s, last)):
        if end > begin:
            panel.axvspan(begin, end, color="#000000", alpha=0.07, linewidth=0)


def _spans(panel: Any, marks: Sequence[Mark]) -> None:
    for mark in marks:
        if mark.until_s is not None:
            panel.axvspan(mark.at_s, mark.until_s, color=LIMIT, alpha=0.08, linewidth=0)
        panel.axvline(mark.at_s, color=LIMIT, linewidth=0.8, alpha=0.7)
