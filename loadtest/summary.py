"""Figures of a run, out of its records: pure, and the same whoever made the records.

They are of the requests that should have been sent in the window after the warm-up, also of those that ended after it.
Rates (requests, tokens, items a second) are of what arrived within the window, whenever it was asked for: in a steady
state as much comes in from before as goes out behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loadtest import events
from loadtest.events import Values
from loadtest.intervals import Estimate, clustered_percentile, mean, percentile, share
from loadtest.latency import LATENCIES, is_good
from loadtest.record import Record
from loadtest.scenario import GENERATING, Closed, Open, Scenario

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
CLOCK_S = 1e-6  # as exact as times are


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of a latency; milliseconds. `p50` is the median, `std` that of the sample itself (over n, as numpy's)."""

    count: int
    mean: Estimate
    std: float
    p50: Estimate
    p90: Estimate
    p95: Estimate
    p99: Estimate
    max: float


@dataclass(frozen=True, slots=True)
class Group:
    """Figures of some requests. `latencies` has those of `latency.LATENCIES` and `itl`, where there are any."""

    sent: int  # that should have been sent in the window
    completed: int
    failed: dict[str, int]  # by kind of failure
    input_tokens: int  # of complete answers, by the server's `usage`
    output_tokens: int
    offered_per_s: float  # requests that should have been sent
    requests_per_s: float  # complete answers
    output_tokens_per_s: float
    total_tokens_per_s: float  # with those of the prompts
    items_per_s: float | None  # texts, sentences; None where all requests generate
    goodput: Estimate | None  # share of all sent requests that are complete and within the objective's limits
    goodput_per_s: float
    tokens_per_event: float | None  # of answers that came in several events
    variants: dict[str, int]  # complete answers
    latencies: dict[str, Distribution]


@dataclass(frozen=True, slots=True)
class Summary:
    """Of a run. The window is from `from_s` to `until_s`, in seconds from the run's start."""

    scenario: str
    from_s: float
    until_s: float
    duration_s: float  # from the window's begin until the last answer had come: what vLLM divides by
    warm_up: int  # requests before the window, which are no part of this
    overall: Group
    kinds: dict[str, Group]
    max_concurrent_requests: int
    max_output_tokens_per_s: float  # in the best second

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers."""
        return asdict(self)


def summarize(records: Sequence[Record], scenario: Scenario) -> Summary:
    """All records of a run, warm-up included."""
    from_s, until_s = window(records, scenario)
    measured = in_window(records, from_s, until_s)
    by_kind = {kind: [one for one in records if one.kind == kind] for kind in sorted({one.kind for one in records})}
    overall = _group(records, scenario, from_s, until_s)
    ends = [one.end_s for one in measured if one.end_s is not None]
    return Summary(
        scenario=scenario.name,
        from_s=from_s,
        until_s=until_s,
        duration_s=max(ends, default=until_s) - from_s,
        warm_up=sum(one.scheduled_s < from_s for one in records),
        overall=overall,
        kinds={
            kind: _group(ours, scenario, from_s, until_s) if len(by_kind) > 1 else overall
            for kind, ours in by_kind.items()
        },
        max_concurrent_requests=events.most_at_once(records, from_s, until_s),
        max_output_tokens_per_s=_best_second(records, from_s, until_s),
    )


def window(records: Sequence[Record], scenario: Scenario) -> tuple[float, float]:
    """From when to when is measured, the latter excluded. Users who stop after so many requests end it early, with the
    last answer; so does a trace that is shorter, with its last request."""
    from_s, until_s, load = scenario.warm_up_s, scenario.total_s, scenario.load
    last = until_s
    if isinstance(load, Open) and load.trace is not None:
        last = max((one.scheduled_s for one in records), default=until_s)
    elif isinstance(load, Closed) and load.requests is not None and len(records) >= load.requests:
        last = max((one.end_s for one in records if one.end_s is not None), default=until_s)
    return from_s, round(last + CLOCK_S, 6) if from_s < last < until_s else until_s


def in_window(records: Sequence[Record], from_s: float, until_s: float) -> list[Record]:
    """Those that should have been sent in it."""
    return [one for one in records if from_s <= one.scheduled_s < until_s]


def distribution(values_ms: Values, sizes: Sequence[int] | None = None) -> Distribution | None:
    """None of nothing. `sizes`: the values come in clusters, one after the other."""
    if not len(values_ms):
        return None
    if sizes is None:
        ordered = np.sort(values_ms)
        found = {name: percentile(ordered, q) for name, q in QUANTILES.items()}
        middle = mean(values_ms)
    else:
        counts = np.array(sizes, np.int64)
        found = {name: clustered_percentile(values_ms, counts, q) for name, q in QUANTILES.items()}
        middle = mean(values_ms, counts)
    return Distribution(
        count=len(values_ms), mean=middle, std=float(values_ms.std()), max=float(values_ms.max()), **found
    )


def _group(records: Sequence[Record], scenario: Scenario, from_s: float, until_s: float) -> Group:
    measured = in_window(records, from_s, until_s)
    complete = [one for one in measured if not one.failure]
    good = sum(is_good(one, scenario.objective.within) for one in measured)
    output = events.per_second(events.output_tokens(records), from_s, until_s)
    whole = any(one.kind not in GENERATING for one in measured)
    return Group(
        sent=len(measured),
        completed=len(complete),
        failed=dict(sorted(Counter(one.failure for one in measured if one.failure).items())),
        input_tokens=sum(one.prompt_tokens for one in complete),
        output_tokens=sum(one.output_tokens for one in complete),
        offered_per_s=len(measured) / (until_s - from_s),
        requests_per_s=events.per_second(events.answers(records), from_s, until_s),
        output_tokens_per_s=output,
        total_tokens_per_s=output + events.per_second(events.prompt_tokens(records), from_s, until_s),
        items_per_s=events.per_second(events.items(records), from_s, until_s) if whole else None,
        goodput=share(good, len(measured)) if measured else None,
        goodput_per_s=good / (until_s - from_s),
        tokens_per_event=_tokens_per_event(complete),
        variants=dict(sorted(Counter(one.variant for one in complete if one.variant).items())),
        latencies=_latencies(measured),
    )


def _latencies(measured: Sequence[Record]) -> dict[str, Distribution]:
    found: dict[str, Distribution | None] = {}
    for name, of in LATENCIES.items():
        seconds = [value for value in map(of, measured) if value is not None]
        found[name] = distribution(1000 * np.array(seconds, np.float64))
    gaps = [one.gaps_s for one in measured if not one.failure and one.gaps_s]
    values = np.array([gap for of_one in gaps for gap in of_one], np.float64)
    found["itl"] = distribution(1000 * values, [len(of_one) for of_one in gaps])
    return {name: one for name, one in found.items() if one is not None}


def _tokens_per_event(complete: Sequence[Record]) -> float | None:
    streams = [one for one in complete if one.gaps_s]
    count = sum(len(one.gaps_s) + 1 for one in streams)
    return sum(one.output_tokens for one in streams) / count if count else None


def _best_second(records: Sequence[Record], from_s: float, until_s: float) -> float:
    """Whole seconds of the window; one that is cut off by its end counts as if it were whole."""
    edges = np.append(np.arange(from_s, until_s), until_s)
    times = events.output_tokens(records)
    return float((events.binned(times, edges) * np.diff(edges)).max(initial=0.0))
