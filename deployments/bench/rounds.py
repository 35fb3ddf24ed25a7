"""Alternating measurements and their medians: a shared machine drifts, and contenders must drift together."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Measure = Callable[[], float]


def alternate(measures: Mapping[str, Measure], rounds: int, console: Console) -> dict[str, list[float]]:
    """Every measure once a round, in order, after one round that does not count. Samples by name."""
    samples: dict[str, list[float]] = {name: [] for name in measures}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("warming up", total=(rounds + 1) * len(measures))
        for turn in range(rounds + 1):
            for name, measure in measures.items():
                progress.update(task, description=f"{name}" if turn else f"warming up {name}")
                sample = measure()
                if turn:
                    samples[name].append(sample)
                progress.advance(task)
    return samples


def summary(samples: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Median, extremes and the samples themselves."""
    return {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values), "samples": values}
        for name, values in samples.items()
    }
