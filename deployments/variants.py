"""Which variant of a model answers a request: pure functions of data, so routing can be tested without a cluster."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.errors import ModelNotFound

VariantState = Literal["ready", "starting", "unavailable"]


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """One precision of a model, as the router sees it. The order in which a model lists its variants is preference."""

    name: str
    state: VariantState = "ready"


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


def choose_variant(model: str, variants: Sequence[VariantInfo], pinned: str | None) -> str:
    """Name of the variant that answers: the pinned one, else the first that is ready, else the first.

    Raises `ModelNotFound` for a pinned variant that the model does not have.
    """
    if pinned is not None:
        if any(variant.name == pinned for variant in variants):
            return pinned
        known = ", ".join(variant.name for variant in variants)
        shown = pinned if len(pinned) <= 100 else f"{pinned[:100]}..."
        raise ModelNotFound(f"The model '{model}' has no variant '{shown}'. Its variants: {known}.", param="model")
    if not variants:
        raise ModelNotFound(f"The model '{model}' has no variant to answer with.", param="model")
    return next((variant.name for variant in variants if variant.state == "ready"), variants[0].name)
