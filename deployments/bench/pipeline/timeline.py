"""Which stage computed which batch when: as a picture, and as a trace for chrome://tracing or ui.perfetto.dev."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

SHOWN_S = 0.4  # of the timeline in the picture: batches take milliseconds


@dataclass(frozen=True, slots=True)
class Span:
    """One batch in one stage; `time.time()` seconds."""

    stage: int
    number: int
    rows: int
    received_s: float
    begin_s: float
    end_s: float
    sent_s: float


def hops(spans: Sequence[Span]) -> list[float]:
    """Seconds from the end of a batch's computing in a stage to its beginning in the next."""
    of_batch: dict[int, list[Span]] = {}
    for span in spans:
        of_batch.setdefault(span.number, []).append(span)
    found = []
    for batch in of_batch.values():
        ordered = sorted(batch, key=lambda span: span.stage)
        found += [
            after.begin_s - before.end_s for before, after in pairwise(ordered) if after.stage == before.stage + 1
        ]
    return found


def median_hop_ms(spans: Sequence[Span]) -> float:
    """Of batches that did not have to wait for the one before them, as with a single stream."""
    found = hops(spans)
    return 1000 * statistics.median(found) if found else 0.0


def busy(spans: Sequence[Span], stages: int) -> list[float]:
    """Each stage's share of the time, from the first batch to the last, in which it computed."""
    if not spans:
        return [0.0] * stages
    begin, end = min(span.begin_s for span in spans), max(span.end_s for span in spans)
    return [sum(one.end_s - one.begin_s for one in spans if one.stage == i) / (end - begin) for i in range(stages)]


def chrome_trace(spans: Sequence[Span]) -> dict[str, Any]:
    """In Chrome's trace event format: a row for each stage, with computing and sending."""
    origin = min((span.received_s for span in spans), default=0.0)
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": stage, "args": {"name": f"stage {stage}"}}
        for stage in sorted({span.stage for span in spans})
    ]
    for span in spans:
        for name, begin, end in (
            (f"batch {span.number}, {span.rows} rows", span.begin_s, span.end_s),
            ("send", span.end_s, span.sent_s),
        ):
            events.append(
                {
                    "name": name,
                    "ph": "X",
                    "pid": span.stage,
                    "tid": 0 if name != "send" else 1,
                    "ts": round(1e6 * (begin - origin), 1),
                    "dur": round(1e6 * max(0.0, end - begin), 1),
                    "args": {"batch": span.number, "rows": span.rows},
                }
            )
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def write_pictures(result: dict[str, Any], picture: Path | None, trace: Path | None) -> None:
    """What `bench_pipeline` traced, in one form or the other or both."""
    spans = [Span(**span) for span in result["spans"]]
    for path in (picture, trace):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    if picture is not None:
        title = f"{result['model']}:{result['variant']}, {result['work']['streams']} streams, commit {result['commit']}"
        draw(spans, title, picture)
    if trace is not None:
        trace.write_text(json.dumps(chrome_trace(spans)) + "\n", encoding="utf-8")


def draw(spans: Sequence[Span], title: str, path: Path) -> None:
    """The last `SHOWN_S` seconds; batches that follow each other differ in colour."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    stages = sorted({span.stage for span in spans})
    end = max(span.end_s for span in spans)
    shown = [span for span in spans if span.end_s > end - SHOWN_S]
    begin = min(span.begin_s for span in shown)
    figure, panel = pyplot.subplots(figsize=(11, 1.2 + 0.6 * len(stages)))
    colors = [pyplot.get_cmap("tab10")(i) for i in range(10)]
    for span in shown:
        bar = [(1000 * (span.begin_s - begin), 1000 * (span.end_s - span.begin_s))]
        panel.broken_barh(bar, (span.stage - 0.4, 0.8), facecolor=colors[span.number % 10], edgecolor="white", lw=0.5)
    panel.set_yticks(stages, [f"stage {stage}" for stage in stages])
    panel.invert_yaxis()
    panel.set_xlabel("milliseconds (a colour is a batch; white is the bubble)")
    panel.set_title(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
