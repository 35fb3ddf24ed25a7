"""All variants of a model in one picture: what they lose against how fast they are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deployments.quality import Quality, read_quality
from engine.errors import ConfigError

FILE = "quality.png"


def siblings(folder: Path, like: Quality) -> list[Quality]:
    """The measurements that lie side by side in `folder`, of the same model and weights; damaged ones are left out."""
    found = []
    for path in sorted(folder.glob("*/quality.json")):
        try:
            one = read_quality(path.parent)
        except ConfigError:
            continue
        if one is not None and (one.model, one.base) == (like.model, like.base):
            found.append(one)
    return found


def points(measured: Iterable[Quality]) -> tuple[str, dict[str, tuple[float, float]]]:
    """Times as fast as fp32 in the same run, and the share of the quality that is lost, in percent, by precision; and
    the name of the speed that is shown, "" where none was measured."""
    found: dict[str, tuple[float, float]] = {}
    shown = ""
    for one in measured:
        if one.speedup is None:
            continue
        shown = list(one.variant.speed)[-1]  # of many at once
        found[one.precision] = (one.speedup, 100 * (1 - one.retained))
        found["fp32"] = (1.0, 0.0)
    return shown, found


def draw(measured: list[Quality], picture: Path) -> bool:
    """Writes the picture as a PNG; False where no speed was measured to draw."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown, found = points(measured)
    if not found:
        return False
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, (speed, lost) in sorted(found.items()):
        axes.scatter(speed, lost, s=60)
        axes.annotate(name, (speed, lost), textcoords="offset points", xytext=(0, 8), ha="center")
    axes.margins(0.2)
    axes.axhline(0, color="gray", lw=0.8)
    unit = shown.rpartition("_")[0].replace("_per_s", " per second").replace("_", " ")
    at_once = shown.rpartition("_")[2]
    axes.set(
        title=f"{measured[0].model}: quality against speed",
        xlabel=f"{unit}, {at_once} at once, times fp32",
        ylabel="quality lost, % of fp32's",
    )
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)
    return True
