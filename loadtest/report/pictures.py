"""What all pictures share: matplotlib, where it is, colours, axes of milliseconds."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.errors import LoadTestError

NO_MATPLOTLIB = "Pictures need matplotlib. Install it with: pip install 'stageline[load]'"
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22")
LIMIT = "#d62728"  # what was promised, and what failed
DPI = 110
WIDE = 10.0  # of the largest over the smallest: from here on an axis is logarithmic


def can_draw() -> bool:
    """Whether matplotlib is here."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(width: float, height: float) -> Any:
    """A figure of its own, in inches: no window, and nothing that threads would share. Raises LoadTestError."""
    if not can_draw():
        raise LoadTestError(NO_MATPLOTLIB)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def plain(text: str) -> str:
    """On one line, and without what matplotlib takes for mathematics: names come from servers."""
    return " ".join(text.split()).replace("$", r"\$")


def save(figure: Any, path: Path) -> None:
    """The file's ending says the format."""
    figure.savefig(path, dpi=DPI)


def colors(names: Iterable[str]) -> dict[str, str]:
    """One for each name, in their order."""
    return {name: COLORS[number % len(COLORS)] for number, name in enumerate(dict.fromkeys(names))}


def plain_logs(panel: Any, which: str, values: Sequence[float]) -> bool:
    """Makes the axis "x" or "y" logarithmic where `values` are far apart, with numbers as people write them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = [value for value in values if value > 0]
    if not positive or max(positive) / min(positive) < WIDE:
        return False
    panel.set(**{f"{which}scale": "log"})
    axis = getattr(panel, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(positive) / min(positive) < 1000 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    return True


def bin_width(seconds: float) -> float:
    """A round number of seconds, so that there are 60 bins or a few more or fewer."""
    return min((0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0), key=lambda width: abs(np.log(seconds / 60 / width)))
