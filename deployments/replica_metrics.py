"""A replica's own metrics: what only the engine knows, under vLLM's names and labels. `engine` is the variant."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

LABELS = ("model_name", "engine")
STEP_TOKENS = (1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0)
RATE_WINDOW_S = 5.0

Families = Sequence[CounterMetricFamily | GaugeMetricFamily]
Values = Mapping[str, tuple[str, float]]  # metric's name without prefix -> its explanation, its value


@dataclass(frozen=True, slots=True)
class Measures:
    """An engine's snapshot as metrics, and what of it `/status` shows."""

    gauges: Values = field(default_factory=dict)
    counters: Values = field(default_factory=dict)
    status: Mapping[str, object] = field(default_factory=dict)


def load_gauges(running: int, waiting: int) -> dict[str, tuple[str, float]]:
    """The two that every task has."""
    return {
        "vllm:num_requests_running": ("Requests in the running batch.", running),
        "vllm:num_requests_waiting": ("Requests waiting for their first step.", waiting),
    }


class Rate:
    """How fast a count grows, over the last seconds."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []  # (time, count by then)

    def per_s(self, count: float) -> float:
        """Since the call before the last `RATE_WINDOW_S` seconds, or since the first call."""
        now = time.monotonic()
        self._marks.append((now, count))
        while len(self._marks) > 2 and self._marks[1][0] < now - RATE_WINDOW_S:
            self._marks.pop(0)
        since, before = self._marks[0]
        return (count - before) / (now - since) if now > since else 0.0


class ReplicaMetrics(Collector):
    """Turns engine snapshots into families when asked, so that the engine's loop pays for one histogram only."""

    def __init__(self, model: str, variant: str) -> None:
        self.labels = (model, variant)
        self.measures = Measures()
        self.more: Families = ()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        histogram = Histogram(
            "vllm:iteration_tokens_total",
            "Tokens of one engine step.",
            LABELS,
            registry=self.registry,
            buckets=STEP_TOKENS,
        )
        self.step_tokens = histogram.labels(*self.labels)
        busy = Gauge("stageline:engine_busy_seconds", "Time spent in engine steps.", LABELS, registry=self.registry)
        self.busy_s = busy.labels(*self.labels)
        self.steps = 0

    def observe_step(self, tokens: int, seconds: float) -> None:
        """Called by the engine's loop after each step."""
        if tokens:
            self.steps += 1
            self.step_tokens.observe(tokens)
            self.busy_s.inc(seconds)

    def exposition(self, measures: Measures, more: Families = ()) -> str:
        """All of it in Prometheus' text format, and `more`."""
        self.measures, self.more = measures, more
        return generate_latest(self.registry).decode()

    def collect(self) -> list[CounterMetricFamily | GaugeMetricFamily]:
        families: list[CounterMetricFamily | GaugeMetricFamily] = []
        for name, (text, value) in self.measures.gauges.items():
            gauge = GaugeMetricFamily(name, text, labels=LABELS)
            gauge.add_metric(self.labels, value)
            families.append(gauge)
        for name, (text, value) in self.measures.counters.items():
            counter = CounterMetricFamily(name, text, labels=LABELS)
            counter.add_metric(self.labels, value)
            families.append(counter)
        return [*families, *self.more]


def start_family(parts_s: Mapping[str, float], replica: str, labels: Sequence[str]) -> GaugeMetricFamily:
    """What a replica's start took, by its parts ("load_s"). Each replica is a series of its own: added up they would
    say nothing."""
    family = GaugeMetricFamily(
        "stageline:replica_start_seconds", "What the replica's start took.", labels=(*LABELS, "replica", "part")
    )
    for part, seconds in parts_s.items():
        family.add_metric((*labels, replica, part.removesuffix("_s")), seconds)
    return family


def room_family(tokens: int, labels: Sequence[str]) -> CounterMetricFamily:
    """What the steps so far had room for: with `vllm:iteration_tokens_total` it tells how full batches are."""
    family = CounterMetricFamily(
        "stageline:step_room_tokens", "Tokens that the engine's steps had room for.", labels=LABELS
    )
    family.add_metric(labels, tokens)
    return family
