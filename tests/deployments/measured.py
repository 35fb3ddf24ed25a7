"""Measurements that nobody made, for tests of what is done with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.quality import DataFile, Quality, Side
from deployments.settings import Task
from engine.config import Precision

SCORES: dict[Task, dict[str, float]] = {
    "text-generation": {"perplexity": 20.0},
    "text-classification": {"accuracy": 0.93},
    "translation": {"bleu": 36.0, "chrf": 60.0, "bleu_4_beams": 37.0, "chrf_4_beams": 61.0},
    "embedding": {"cosine": 1.0},
}


def quality(
    task: Task = "text-generation",
    scores: Mapping[str, float] | None = None,
    *,
    precision: Precision = "int8-dynamic",
    base: str = "b" * 64,
    recipe: str | None = "r" * 64,
) -> Quality:
    """As good as the reference but for the `scores` given."""
    return Quality(
        model="tiny",
        task=task,
        base=base,
        recipe=recipe,
        data=(DataFile(name="test.txt", sha256="d" * 64, count=10),),
        variant=Side(precision=precision, scores={**SCORES[task], **(scores or {})}, size_bytes=100, speed={"a": 2.0}),
        reference=Side(precision="fp32", scores=SCORES[task], size_bytes=400, speed={"a": 1.0}),
        rows=100,
        kl=0.01,
        agreement=0.97,
    )


def changed(**fields: Any) -> dict[str, Any]:
    """The record as a file holds it, with other fields."""
    found: dict[str, Any] = quality().model_dump(mode="json")
    return {**found, **fields}
