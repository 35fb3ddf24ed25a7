"""A run by the phases of its load: what was asked, who answered, how long it took, how many replicas. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from loadtest import events
from loadtest.latency import e2e_s, is_good, tpot_s, ttft_s
from loadtest.record import Record
from loadtest.scenario import GENERATING, Open, Scenario
from loadtest.workload import ask

REFUSED = ("429", "503")
Sample = Mapping[str, Any]
"""A line of `server.jsonl`."""


def bounds(scenario: Scenario) -> list[tuple[float, float]]:
    """When each phase begins and ends; one from the warm-up's end where there are none."""
    phases = scenario.load.phases if isinstance(scenario.load, Open) else ()
    if not phases:
        return [(scenario.warm_up_s, scenario.total_s)]
    return list(pairwise(accumulate((phase.seconds for phase in phases), initial=0.0)))


def figures(
    records: Sequence[Record], samples: Sequence[Sample], scenario: Scenario, from_s: float, until_s: float
) -> dict[str, Any]:
    """Of the requests that were due in [from_s, until_s); rates are of what came within it. Latencies in ms."""
    due = [one for one in records if from_s <= one.scheduled_s < until_s]
    within = scenario.objective.within
    return {
        "from_s": from_s,
        "until_s": until_s,
        "requests": len(due),
        "offered_tokens_per_s": sum(asked_tokens(scenario, one) for one in due) / (until_s - from_s),
        "tokens_per_s": events.per_second(events.output_tokens(records), from_s, until_s),
        "refused": sum(one.failure in REFUSED for one in due),
        "failed": sum(bool(one.failure) and one.failure not in REFUSED for one in due),
        "good": sum(is_good(one, within) for one in due),
        "ttft_ms": percentiles([ttft_s(one) for one in due]),
        "tpot_ms": percentiles([tpot_s(one) for one in due]),
        "answer_ms": percentiles([e2e_s(one) for one in due if one.kind not in GENERATING]),
        "variants": by_variant(due),
        "most_replicas": most_replicas([one for one in samples if from_s <= one["at_s"] < until_s]),
    }


def asked_tokens(scenario: Scenario, record: Record) -> int:
    """That a request wants; 0 for one that does not generate."""
    return int(json.loads(ask(scenario, record.number).body)["max_tokens"]) if record.kind in GENERATING else 0


def percentiles(seconds: Sequence[float | None]) -> dict[str, float]:
    """p50 and p99 in ms; empty where there is nothing."""
    values = [1000 * one for one in seconds if one is not None]
    return {name: float(np.percentile(values, share)) for name, share in (("p50", 50), ("p99", 99)) if values}


def by_variant(records: Sequence[Record]) -> dict[str, int]:
    """Complete answers, by "model:variant"."""
    return dict(sorted(Counter(f"{one.model}:{one.variant}" for one in records if not one.failure).items()))


def ready(sample: Sample) -> dict[str, int]:
    """Replicas that answer, by "model:variant"."""
    return dict(_counts(sample))


def _counts(sample: Sample) -> Iterator[tuple[str, int]]:
    for model in sample["models"]:
        for variant in model["variants"]:
            yield f"{model['name']}:{variant['name']}", int(variant["replicas"])


def most_replicas(samples: Sequence[Sample]) -> dict[str, int]:
    """The most at one time."""
    found: dict[str, int] = {}
    for sample in samples:
        for name, count in _counts(sample):
            found[name] = max(count, found.get(name, 0))
    return found


def moves(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Each change of the number of replicas that answer, and the numbers at the beginning. A sample without models (the
    server did not tell) says nothing."""
    found: list[dict[str, Any]] = []
    before: dict[str, int] = {}
    for sample in samples:
        for name, count in _counts(sample):
            if before.get(name) != count:
                found.append({"at_s": sample["at_s"], "variant": name, "replicas": count})
            before[name] = count
    return found
