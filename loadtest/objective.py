"""Whether a run kept what its scenario promises: each promise in words, and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from loadtest.intervals import Estimate
from loadtest.scenario import Objective
from loadtest.summary import QUANTILES, Summary

NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E"}


@dataclass(frozen=True, slots=True)
class Promise:
    """`value` and `limit` in milliseconds for latencies, else shares from 0 to 1. None: nothing was measured, which
    keeps no promise."""

    what: str
    limit: float
    value: float | None
    kept: bool
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Kept if all promises are; a scenario that promises nothing is kept."""

    kept: bool
    promises: tuple[Promise, ...]


def judge(objective: Objective, summary: Summary) -> Verdict:
    """Over all requests together. TTFT and TPOT are of those that generate, E2E is of all."""
    promises = (*_latencies(objective, summary), *_shares(objective, summary))
    return Verdict(all(promise.kept for promise in promises), promises)


def _latencies(objective: Objective, summary: Summary) -> Iterator[Promise]:
    for latency, name in NAMES.items():
        limits = getattr(objective, f"{latency}_ms")
        found = summary.overall.latencies.get(latency)
        for quantile in QUANTILES:
            limit = getattr(limits, quantile)
            if limit is not None:
                yield _at_most(f"{name} {quantile}", limit, None if found is None else getattr(found, quantile))


def _at_most(what: str, limit: float, found: Estimate | None) -> Promise:
    if found is None:
        return Promise(what, limit, None, False, f"{what}: nothing was measured, at most {limit:g} ms: not kept")
    kept = found.value <= limit
    words = f"{what}: {found.value:.4g} ms, at most {limit:g} ms: {'kept' if kept else 'not kept'}"
    return Promise(what, limit, found.value, kept, words + _doubt(found, limit, kept))


def _doubt(found: Estimate, limit: float, kept: bool) -> str:
    """What is said where the limit lies within the interval, or where the interval has no end on that side."""
    if kept and found.high is None:
        return " (too few requests to be certain of it)"
    if kept and found.high is not None and found.high > limit:
        return f" (not for certain: the interval goes up to {found.high:.4g} ms)"
    if not kept and found.low is not None and found.low <= limit:
        return f" (not for certain: the interval goes down to {found.low:.4g} ms)"
    return ""


def _shares(objective: Objective, summary: Summary) -> Iterator[Promise]:
    overall = summary.overall
    if objective.failed is not None:
        value = 1 - overall.completed / overall.sent if overall.sent else None
        kept = value is not None and value <= objective.failed
        yield _share("requests that fail", objective.failed, value, kept, "at most")
    if objective.goodput is not None:
        value = None if overall.goodput is None else overall.goodput.value
        kept = value is not None and value >= objective.goodput
        yield _share(f"goodput ({_within(objective)})", objective.goodput, value, kept, "at least")


def _within(objective: Objective) -> str:
    limits = [f"{NAMES[name.removesuffix('_ms')]} within {limit:g} ms" for name, limit in objective.within.items()]
    return ", ".join(limits) or "complete answers"


def _share(what: str, limit: float, value: float | None, kept: bool, bound: str) -> Promise:
    shown = "no request was sent" if value is None else f"{value:.2%}"
    words = f"{what}: {shown}, {bound} {limit:.2%}: {'kept' if kept else 'not kept'}"
    return Promise(what, limit, value, kept, words)
