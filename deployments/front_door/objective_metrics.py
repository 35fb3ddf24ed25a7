"""Whether answers kept what is promised for their model, counted as they end.

A histogram cannot tell that: its buckets are the same for all models, and a model's objective is its operator's choice.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from deployments.routing.prediction import Objective

LABELS = ("model_name", "engine")
PARTS = ("ttft", "tpot", "latency")
"""What an answer can miss: its first token, the tokens after it, or the whole of it where it comes in one piece."""


def parts_of(objective: Objective) -> tuple[str, ...]:
    """Those of `PARTS` that are promised."""
    return ("latency",) if objective.token_s is None else ("ttft", "tpot")


def limits_s(objective: Objective) -> dict[str, float]:
    """What is promised, in seconds, by part."""
    values = (objective.first_s,) if objective.token_s is None else (objective.first_s, objective.token_s)
    return dict(zip(parts_of(objective), values, strict=True))


def missed(objective: Objective, first_s: float, token_s: float | None = None) -> tuple[str, ...]:
    """The parts that an answer missed: `first_s` until its first token (or all of it, in one piece), `token_s` for each
    token after it, None where it has no other."""
    took = dict(zip(parts_of(objective), (first_s, token_s), strict=False))
    return tuple(part for part, limit in limits_s(objective).items() if (took[part] or 0.0) > limit)


class ObjectiveMetrics:
    """Of all models."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter(
            "stageline:objective_answers",
            "Answers that were held against their model's objective.",
            LABELS,
            registry=registry,
        )
        self.missed = Counter(
            "stageline:objective_missed",
            "Of these, those that missed a part of it, and which.",
            (*LABELS, "part"),
            registry=registry,
        )

    def of(self, model: str, variant: str, objective: Objective) -> VariantObjective:
        """One variant's. All of its series are there from the first answer on, so that a rate sees the first miss."""
        parts = {part: self.missed.labels(model, variant, part) for part in parts_of(objective)}
        return VariantObjective(self.answers.labels(model, variant), parts, objective)


class VariantObjective:
    """Holds one variant's answers against the objective."""

    def __init__(self, answers: Counter, missed: dict[str, Counter], objective: Objective) -> None:
        self._answers, self._missed, self._objective = answers, missed, objective

    def answered(self, first_s: float, token_s: float | None = None) -> tuple[str, ...]:
        """As `missed`."""
        self._answers.inc()
        parts = missed(self._objective, first_s, token_s)
        for part in parts:
            self._missed[part].inc()
        return parts
