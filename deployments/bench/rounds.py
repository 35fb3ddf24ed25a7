"""Alternating measurements and their medians: a shared machine drifts, and contenders must drift together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console

from deployments.benchmark.ratios import ratio
from loadtest.turns import turns

Measure = Callable[[], float]

# Between measures: idle threads of some runtimes go on looking for work for up to 0.2 s, on the next contender's cores.
PAUSE_S = 0.3


def alternate(
    measures: Mapping[str, Measure], rounds: int, console: Console, pause_s: float = 0.0
) -> dict[str, list[float]]:
    """Every measure once a round, after one round that does not count. Samples by name."""
    samples: dict[str, list[float]] = {name: [] for name in measures}
    for turn, name in turns(list(measures), rounds, console, warm_up=True):
        time.sleep(pause_s)
        sample = measures[name]()
        if turn:
            samples[name].append(sample)
    return samples


def summary(samples: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Median, extremes and the samples themselves."""
    return {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values), "samples": values}
        for name, values in samples.items()
    }


def peer_name(peer: str, work: str) -> str:
    """Under which a peer's samples of some work stand; the engine's stand under the work alone."""
    return f"{peer}, {work}"


def ratios(samples: Mapping[str, list[float]], peers: Iterable[str]) -> dict[str, dict[str, float]]:
    """How much faster the engine is than each peer that did the same work, by work and peer: medians of the rounds'."""
    names = list(peers)
    found: dict[str, dict[str, float]] = {}
    for work, mine in samples.items():
        theirs = {peer: samples[peer_name(peer, work)] for peer in names if peer_name(peer, work) in samples}
        if theirs:
            found[work] = {peer: ratio(rates, mine, lower_is_better=False).value for peer, rates in theirs.items()}
    return found


def hardest(against: Mapping[str, float]) -> tuple[str, float]:
    """The best of the peers, and the ratio against it."""
    peer = min(against, key=lambda name: against[name])
    return peer, against[peer]
