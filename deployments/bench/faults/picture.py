"""The picture of a trial: tokens over time, what was done meanwhile, and how long streams stood still for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLORS = {
    "stage killed": "#1f77b4",
    "stage frozen": "#9467bd",
    "replica killed": "#ff7f0e",
    "node killed": "#d62728",
    "link cut": "#2ca02c",
}


def draw(result: dict[str, Any], path: Path) -> None:
    """`result` is what `bench_faults` returns; the file's ending says the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (flow, pauses) = pyplot.subplots(2, 1, sharex=True, figsize=(10, 6))
    begin, events = result["arrivals"]["begin_s"], result["arrivals"]["events"]
    flow.fill_between(range(len(events)), events, step="post", color="#bbbbbb")
    flow.set_ylabel("bundles of tokens a second")
    shown: set[str] = set()
    for injury in result["injuries"]:
        kind, at = injury["kind"], injury["at_s"] - begin
        label = None if kind in shown else kind
        shown.add(kind)
        flow.axvline(at, color=COLORS[kind], linewidth=1)
        pauses.vlines(at, 0, injury["longest_gap_s"], color=COLORS[kind])
        pauses.plot(at, injury["longest_gap_s"], "o", color=COLORS[kind], label=label)
        pauses.plot(at, injury["median_gap_s"], "_", color=COLORS[kind])
    pauses.set_ylabel("pause of a stream, s\n(longest; dash: median)")
    pauses.set_xlabel("seconds")
    pauses.axhline(result["undisturbed"]["longest_gap_s"], color="black", linewidth=0.5, label="undisturbed, longest")
    if shown:
        pauses.legend(fontsize=8, loc="upper right")
    trial = result["trial"]
    figure.suptitle(
        f"{trial['streams']} streams of {trial['model']}: {result['streams']} answered, {result['lost']} lost, "
        f"{result['changed']} changed; commit {result['commit']}",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
