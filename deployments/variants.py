"""The variants of a model, and which of them a request allows: pure functions of data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.errors import InvalidRequest, ModelNotFound

VariantState = Literal["ready", "starting", "asleep", "unavailable"]
"""It answers; it has not answered yet; it has no replica and gets one when it is asked; it has answered and does not
now."""

Policy = Literal["best", "balanced", "fast"]
"""The best variant that is predicted to meet the objective; the best that needs only half of it; the fastest."""


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """One precision of a model.

    `retained` is the share of the model's quality that it keeps, 0 to 1, None where nobody knows; `measured` tells that
    this was measured. `speedup` is how many times as fast as fp32 it is with many requests at once, None where that was
    not measured. `may_sleep` where it need not have a replica, `shares` where others may compute on the same cores at
    the same time. The order in which a model lists its variants is preference among equals.
    """

    name: str
    state: VariantState = "ready"
    retained: float | None = None
    measured: bool = False
    speedup: float | None = None
    may_sleep: bool = False
    shares: bool = False
    replicas: int = 0

    @property
    def quality(self) -> float:
        """`retained`; nothing is promised for a variant that was never measured."""
        return 0.0 if self.retained is None else self.retained


def split_model_name(asked: str, models: Collection[str]) -> tuple[str, str | None]:
    """Take `model` or `model:variant` apart: (model, pinned variant or None).

    A model whose own name has a colon wins over the reading as `model:variant`. Raises `ModelNotFound`.
    """
    if asked in models:
        return asked, None
    name, colon, variant = asked.rpartition(":")
    if colon and name in models:
        return name, variant
    known = ", ".join(sorted(models)) or "none"
    shown = asked if len(asked) <= 100 else f"{asked[:100]}..."
    raise ModelNotFound(f"The model '{shown}' does not exist. Known models: {known}.", param="model")


def find_variant(model: str, variants: Sequence[VariantInfo], pinned: str) -> VariantInfo:
    """The pinned variant. Raises `ModelNotFound` where the model has none of that name."""
    for variant in variants:
        if variant.name == pinned:
            return variant
    known = ", ".join(variant.name for variant in variants)
    shown = pinned if len(pinned) <= 100 else f"{pinned[:100]}..."
    raise ModelNotFound(f"The model '{model}' has no variant '{shown}'. Its variants: {known}.", param="model")


def allowed(
    model: str, variants: Sequence[VariantInfo], pinned: str | None = None, min_quality: float | None = None
) -> list[VariantInfo]:
    """The variants that may answer, best first: the pinned one alone, else those that keep so much of the quality.

    Raises `ModelNotFound` for a pinned variant that the model does not have, and `InvalidRequest` where none is good
    enough.
    """
    if not variants:
        raise ModelNotFound(f"The model '{model}' has no variant to answer with.", param="model")
    asked = variants if pinned is None else [find_variant(model, variants, pinned)]
    good = [variant for variant in asked if min_quality is None or variant.quality >= min_quality]
    if not good:
        best = max(asked, key=lambda variant: variant.quality)
        kept = "is not known" if best.retained is None else f"is {best.retained:.4g}"
        raise InvalidRequest(
            f"No variant of '{model}' that was asked for keeps {min_quality:.4g} of its quality: that of "
            f"'{best.name}' {kept}. Ask for less, or for another variant.",
            param="min_quality",
        )
    return sorted(good, key=lambda variant: -variant.quality)
