"""What was compared, as metrics. All of them grow only, so that a rate of one over a rate of another is a mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from deployments.drift.compare import Comparison

LABELS = ("model_name", "engine")

Skip = Literal["busy", "absent", "dropped", "failed"]
"""Why an answer was not compared: the reference had requests, could not be asked, too many answers waited already, or
something went wrong."""

SKIPS: tuple[Skip, ...] = ("busy", "absent", "dropped", "failed")


class DriftMetrics(Collector):
    """Of all models of one front door."""

    def __init__(self) -> None:
        self._answers: Counter[tuple[str, str]] = Counter()
        self._sums: dict[tuple[str, str], Comparison] = {}
        self._skipped: Counter[tuple[str, str, Skip]] = Counter()

    def compared(self, model: str, variant: str, found: Comparison) -> None:
        """One answer of a variant was held against the reference's."""
        key = model, variant
        self._answers[key] += 1
        self._sums[key] = self._sums.get(key, Comparison()) + found

    def skipped(self, model: str, variant: str, why: Skip) -> None:
        """One that was to be compared was not."""
        self._skipped[model, variant, why] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        # (By their whole names, as alerts and dashboards are checked against the names that the code spells out.)
        answers = CounterMetricFamily(
            "stageline:drift_answers",
            "Answers of a variant that were compared with the reference variant's.",
            labels=LABELS,
        )
        compared = CounterMetricFamily(
            "stageline:drift_compared", "Tokens, texts or sentences of these.", labels=LABELS
        )
        agreed = CounterMetricFamily(
            "stageline:drift_agreed", "Of these, how many the reference answers the same.", labels=LABELS
        )
        gap = CounterMetricFamily(
            "stageline:drift_gap",
            "Sum of their distances: log-probabilities, probabilities, 1 - cosine, or scores.",
            labels=LABELS,
        )
        for key, sums in list(self._sums.items()):
            answers.add_metric(key, self._answers[key])
            compared.add_metric(key, sums.compared)
            agreed.add_metric(key, sums.agreed)
            gap.add_metric(key, sums.gap)
        skipped = CounterMetricFamily(
            "stageline:drift_skipped", "Answers that were to be compared and were not.", labels=(*LABELS, "reason")
        )
        for (model, variant, why), count in list(self._skipped.items()):
            skipped.add_metric((model, variant, why), count)
        yield from (answers, compared, agreed, gap, skipped)
