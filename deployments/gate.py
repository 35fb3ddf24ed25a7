"""Whether a variant may be served: pure functions of what was measured and of what the configuration allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deployments.quality import MEASURES, Quality
from deployments.settings import Gate, Model, Task
from engine.config import Precision, needs_preparing
from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Verdict:
    """A variant that may be served. `quality` is None where nothing that holds for it was measured; `measured` is
    False where it is served in spite of that, and `warning` says so."""

    quality: Quality | None
    measured: bool = True
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """How much of one score is lost, and how much may be; in the units of the gate's key."""

    key: str
    lost: float
    allowed: float
    figures: str

    @property
    def too_much(self) -> bool:
        return not self.lost <= self.allowed  # also for what is no number


def losses(quality: Quality, gate: Gate) -> list[Loss]:
    """What the gate looks at, one for each score of the task's measure."""
    ours, theirs = quality.variant.scores, quality.reference.scores
    match quality.task:
        case "text-generation":
            new, old = ours["perplexity"], theirs["perplexity"]
            lost, most = (new / old if old else math.inf) - 1, gate.max_perplexity_increase
            figures = f"perplexity {new:.4g} where {quality.reference.precision} has {old:.4g} ({lost:+.2%}"
            return [Loss("max_perplexity_increase", lost, most, f"{figures}, allowed {most:+.2%})")]
        case "text-classification":
            new, old = ours["accuracy"], theirs["accuracy"]
            lost, most = old - new, gate.max_accuracy_drop
            figures = f"accuracy {new:.4f} where {quality.reference.precision} has {old:.4f} ({-lost:+.4f}"
            return [Loss("max_accuracy_drop", lost, most, f"{figures}, allowed {-most:+.4f})")]
        case "translation":
            found = []
            for name in sorted(name for name in ours if name.startswith(MEASURES["translation"])):
                new, old = ours[name], theirs[name]
                lost, most = old - new, gate.max_bleu_drop
                words = name.replace("_", " ").replace("bleu", "BLEU")
                figures = f"{words} {new:.2f} where {quality.reference.precision} has {old:.2f} ({-lost:+.2f}"
                found.append(Loss("max_bleu_drop", lost, most, f"{figures}, allowed {-most:+.2f})"))
            return found
        case "embedding":
            cosine, least = ours["cosine"], gate.min_cosine
            figures = f"mean cosine {cosine:.5f} to the vectors of {quality.reference.precision} (at least {least:.5f})"
            return [Loss("min_cosine", 1 - cosine, 1 - least, figures)]


def check_gate(
    name: str,
    quality: Quality | None,
    model: Model,
    precision: Precision,
    base: str,
    recipe: str | None,
    *,
    allow_unmeasured: bool = False,
) -> Verdict:
    """The verdict on `name` (model:variant), whose weights have the digest `base` and are quantized by `recipe`, by the
    model's gate.

    Raises ConfigError, with the figures, for what loses more than the gate allows, and for a quantized variant of which
    nothing was measured that holds for these weights and this recipe.
    """
    fault = unfit(quality, model.task, precision, base, recipe)
    if fault is None:
        assert quality is not None
        over = [loss for loss in losses(quality, model.gate) if loss.too_much]
        if over:
            raise ConfigError(
                f"{name} loses too much: {'; '.join(loss.figures for loss in over)}. Leave the variant out, make it "
                f"anew with more layers kept or a smaller group, or allow more with gate: {over[0].key}.",
                param="gate",
            )
        return Verdict(quality)
    if not needs_preparing(precision):
        return Verdict(None, warning=None if quality is None else f"{name}: {fault}; it counts as unmeasured.")
    if not allow_unmeasured:
        raise ConfigError(
            f"{name} is not served: {fault}. Measure it with `stageline quantize {name.rpartition(':')[0]} --precision "
            f"{precision}`, or serve it all the same: `stageline serve --allow-unmeasured`.",
            param="prepared",
        )
    return Verdict(None, False, f"{name} is served all the same, but {fault}.")


def unfit(quality: Quality | None, task: Task, precision: Precision, base: str, recipe: str | None) -> str | None:
    """Why a measurement says nothing about a variant; None where it does."""
    if quality is None:
        return "its quality was never measured"
    if quality.precision != precision:
        return f"its quality was measured at {quality.precision}"
    if quality.task != task:
        return f"its quality was measured for {quality.task}"
    if quality.base != base:
        return f"its quality was measured of other weights ({quality.base[:12]}, these are {base[:12]})"
    if quality.recipe != recipe:
        known, here = (digest[:12] if digest else "none" for digest in (quality.recipe, recipe))
        return f"its quality was measured with another recipe ({known}, this is {here})"
    return None
