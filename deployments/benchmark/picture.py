"""The table as a picture: a panel for each line, bars for baseline and optimized, here and in the article."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.benchmark.markdown_table import number
from deployments.benchmark.table import Line, lines
from deployments.benchmark.works import UNITS

COLORS = {"article": "#bbbbbb", "here": "#1f77b4"}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """The file's ending says the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    found = lines(result)
    figure, panels = pyplot.subplots(1, len(found), figsize=(3.2 * len(found), 3.8), squeeze=False)
    for panel, line in zip(panels[0], found, strict=True):
        _panel(panel, line)
    figure.suptitle(f"{result['cores']} cores, {result['rounds']} rounds, commit {result['commit']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None} if path.suffix == ".png" else None)
    pyplot.close(figure)


def _panel(panel: Any, line: Line) -> None:
    claim = line.work.article
    bars = [("baseline", line.baseline.median, "here"), ("optimized", line.optimized.median, "here")]
    if claim is not None:
        bars = [("article:\nbaseline", claim.baseline, "article"), ("optimized", claim.optimized, "article"), *bars]
    spreads = (line.baseline, line.optimized)
    unknown = [0.0] * (len(bars) - len(spreads))  # the article tells of no spread
    reach = [
        [*unknown, *(one.median - one.low for one in spreads)],
        [*unknown, *(one.high - one.median for one in spreads)],
    ]
    drawn = panel.bar(
        range(len(bars)),
        [value for _, value, _ in bars],
        color=[COLORS[where] for *_, where in bars],
        yerr=reach,
        capsize=3,
    )
    panel.bar_label(drawn, [number(value) for _, value, _ in bars], fontsize=8, padding=1)
    names = [
        name if where == "article" else f"here:\n{name}" if name == "baseline" else name for name, _, where in bars
    ]
    panel.set_xticks(range(len(bars)), names, fontsize=7)
    panel.set_ylabel(f"{UNITS[line.work.figure]}{', less is better' if line.work.lower_is_better else ''}", fontsize=8)
    panel.tick_params(axis="y", labelsize=7)
    panel.margins(y=0.12)
    against = f" (article {claim.ratio:g}x)" if claim is not None else ""
    panel.set_title(f"{line.work.title}\n{line.setting}\n{line.ratio.value:.1f}x{against}", fontsize=8)
