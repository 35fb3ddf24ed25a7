"""A soak over time: memory of each kind of process, the cache, answers a second, and when replicas were killed."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from deployments.bench.pictures import require_matplotlib


def draw(result: dict[str, Any], path: Path) -> None:
    """Writes png or svg, by the path's ending. Raises ConfigError where matplotlib is missing."""
    require_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (memory, cache, speed) = plt.subplots(3, 1, figsize=(9, 7), sharex=True, layout="constrained")
    times = [one["at_s"] / 60 for one in result["samples"]]
    for kind, values in _by_kind(result["samples"]).items():
        memory.plot(times, values, label=kind)
    memory.set_ylabel("MiB")
    memory.set_ylim(bottom=0)
    memory.legend(fontsize="small", ncols=3)
    cache.plot(times, [100 * one["cache"] for one in result["samples"]])
    cache.set_ylabel("fullest cache, %")
    width = max(1.0, result["seconds"] / 60)
    counts: dict[int, int] = defaultdict(int)
    for at in result["answered_at_s"]:
        counts[int(at / width)] += 1
    last = int(result["seconds"] / width)
    speed.step([at * width / 60 for at in range(last)], [counts[at] / width for at in range(last)], where="post")
    speed.set_ylabel("answers a second")
    speed.set_ylim(bottom=0)
    speed.set_xlabel("minutes")
    for axis in (memory, cache, speed):
        for kill in result["kills"]:
            axis.axvline(kill["at_s"] / 60, color="tab:red", linewidth=0.8, linestyle=":")
    memory.set_title("Soak; dotted: a replica is killed")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def _by_kind(samples: list[dict[str, Any]]) -> dict[str, list[int]]:
    """MiB of all processes of a kind together, at each sample."""
    kinds = sorted({name.rpartition(":")[0] for one in samples for name in one["mib"]})
    return {
        kind: [sum(mib for name, mib in one["mib"].items() if name.rpartition(":")[0] == kind) for one in samples]
        for kind in kinds
    }
