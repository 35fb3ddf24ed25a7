"""What is known of a variant's quality: the measurement against fp32 that is kept beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployments.benchmark.works import first_of
from deployments.quality import MEASURES, read_quality
from deployments.settings import Settings


def measured_quality(settings: Settings, task: str, variants: Sequence[str]) -> list[dict[str, Any]]:
    """The score of each variant of the task's first model that answered, fp32's, what it was measured on and when.

    Empty where nobody measured, as of fp32 itself.
    """
    model = first_of(settings, task)
    found = []
    for variant in model.variants:
        known = variant.name in variants and variant.prepared is not None
        quality = read_quality(Path(variant.prepared or "")) if known else None
        if quality is not None:
            measure = MEASURES[quality.task]
            found.append(
                {
                    "variant": variant.name,
                    "measure": measure,
                    "score": quality.variant.scores[measure],
                    "fp32": quality.reference.scores[measure],
                    "data": [one.name for one in quality.data],
                    "date": quality.origin.get("date"),
                }
            )
    return found
