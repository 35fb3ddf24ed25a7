"""Several nodes as a picture: what each shape does, and what is left of it over a slow link."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.benchmark.markdown_table import number
from deployments.benchmark.ratios import Spread, spread

COLORS = {"stages": "#ff7f0e", "replicas": "#1f77b4", "slow": "#7f7f7f"}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """The file's ending says the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2 if result["slow"] else 1, figsize=(10, 3.6), squeeze=False)
    shapes = [(one["name"], spread([sample["rate"] for sample in one["samples"]])) for one in result["shapes"]]
    colors = [COLORS[one["how"]] for one in result["shapes"]]
    title = f"{result['used_cores']} cores for all nodes together, {result['scenario']['load']['users']} callers"
    _bars(panels[0][0], shapes, colors, result["unit"], title)
    if slow := result["slow"]:
        found = slow_rates(slow)
        _bars(panels[0][1], found, [COLORS["slow"]] * len(found), result["unit"], f"{slow['shape']}, a slow link")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None} if path.suffix == ".png" else None)
    pyplot.close(figure)


def slow_rates(slow: Mapping[str, Any]) -> list[tuple[str, Spread]]:
    """With all callers, by how much longer a round trip takes."""
    everybody = max(sample["callers"] for sample in slow["samples"])
    groups: dict[tuple[float, bool], list[float]] = {}
    for sample in slow["samples"]:
        if sample["callers"] == everybody:
            groups.setdefault((sample["delay_ms"], sample["relay"]), []).append(sample["rate"])
    names = {key: "0 ms,\nhanded on" if key[1] and key[0] < 0.1 else f"{key[0]:g} ms" for key in groups}
    return [(names[key], spread(groups[key])) for key in sorted(groups)]


def _bars(panel: Any, found: list[tuple[str, Spread]], colors: list[str], unit: str, title: str) -> None:
    medians = [one.median for _, one in found]
    reach = [[one.median - one.low for _, one in found], [one.high - one.median for _, one in found]]
    drawn = panel.bar(range(len(found)), medians, color=colors, yerr=reach, capsize=3)
    panel.bar_label(drawn, [number(value) for value in medians], fontsize=8, padding=1)
    panel.set_xticks(range(len(found)), [name.replace(" ", "\n", 1) for name, _ in found], fontsize=7)
    panel.set_ylabel(unit, fontsize=8)
    panel.tick_params(axis="y", labelsize=7)
    panel.margins(y=0.12)
    panel.set_title(title, fontsize=8)
