"""The picture of latencies: which share of requests took no longer than that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.latency import LATENCIES
from loadtest.record import Record
from loadtest.report.pictures import LIMIT, colors, new_figure, plain, plain_logs, save
from loadtest.report.words import short
from loadtest.scenario import Objective
from loadtest.summary import QUANTILES

PANELS = {
    "ttft": "time to first token",
    "tpot": "time per output token, without the first",
    "e2e": "end to end",
}
POINTS = 500  # of a curve
TICKS = {0.0: "0", 0.5: "50%", 0.75: "75%", 0.9: "90%", 0.95: "95%", 0.99: "99%", 0.999: "99.9%", 0.9999: "99.99%"}


def draw_distributions(measured: Sequence[Record], objective: Objective, title: str, path: Path) -> bool:
    """Of the requests in the window. False, and no picture: there is nothing to show. The upper shares have more room
    than the lower ones, as if they were nines."""
    kinds = colors(sorted({one.kind for one in measured}))
    panels = {name: _milliseconds(measured, name, list(kinds)) for name in PANELS}
    panels = {name: of_kind for name, of_kind in panels.items() if of_kind}
    if not panels:
        return False
    figure = new_figure(4.2 * len(panels) + 0.6, 4.8)
    figure.suptitle(plain(title), fontsize=10)
    for panel, (name, of_kind) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        _panel(panel, of_kind, kinds)
        shown = [float(value) for values in of_kind.values() for value in values]
        shown += _limits(panel, objective, name)
        plain_logs(panel, "x", shown)
        panel.set_xlabel(f"{PANELS[name]}, ms")
        panel.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)
    figure.axes[0].set_ylabel("share of requests that took no longer")
    save(figure, path)
    return True


def _milliseconds(measured: Sequence[Record], name: str, kinds: Sequence[str]) -> dict[str, Any]:
    found = {}
    for kind in kinds:
        values = [LATENCIES[name](one) for one in measured if one.kind == kind]
        if any(value is not None for value in values):
            found[kind] = np.sort([1000 * value for value in values if value is not None])
    return found


def _panel(panel: Any, of_kind: dict[str, Any], kinds: dict[str, str]) -> None:
    most = max(len(values) for values in of_kind.values())
    top = max(0.995, 1 - 0.4 / most)
    panel.set_yscale("function", functions=(_to_nines, _from_nines))
    panel.set_ylim(0, top)
    panel.set_yticks([tick for tick in TICKS if tick <= top])
    panel.set_yticklabels([label for tick, label in TICKS.items() if tick <= top], fontsize=8)
    # Through the same quantiles as are told, so that their dots are on the curve.
    shares = _from_nines(np.linspace(0, _to_nines(top), POINTS))
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(alpha=0.3)
    for kind, values in of_kind.items():
        panel.plot(np.quantile(values, shares), shares, color=kinds[kind])
        marks = {name: float(np.quantile(values, q)) for name, q in QUANTILES.items()}
        told = ", ".join(f"{name} {short(value)}" for name, value in marks.items())
        panel.plot(
            list(marks.values()), list(QUANTILES.values()), "o", ms=4, color=kinds[kind], label=f"{kind}: {told}"
        )


def _limits(panel: Any, objective: Objective, name: str) -> list[float]:
    """What was promised: a curve that keeps it passes left of the bar's end. Returns where they are."""
    limits = getattr(objective, f"{name}_ms")
    found = {quantile: getattr(limits, quantile) for quantile in QUANTILES if getattr(limits, quantile) is not None}
    for quantile, limit in found.items():
        panel.plot([limit, limit], [0, QUANTILES[quantile]], "--", color=LIMIT, linewidth=1)
        panel.plot(limit, QUANTILES[quantile], marker="_", ms=12, mew=2, color=LIMIT, linestyle="none",
                   label=f"promised: {quantile} at most {limit:g} ms")  # fmt: skip
    within = objective.within.get(f"{name}_ms")  # type: ignore[call-overload]
    if within is not None:
        panel.axvline(within, color="black", linestyle=":", linewidth=1, label=f"goodput: within {within:g} ms")
        found["within"] = within
    return list(found.values())


def _to_nines(shares: Any) -> Any:
    return -np.log10(1 - np.minimum(np.asarray(shares, np.float64), 1 - 1e-7))


def _from_nines(nines: Any) -> Any:
    return 1 - 10.0 ** -np.asarray(nines, np.float64)
