"""A model and calibration data to a recipe: what goes into its products is observed, each product gets its choice, and
those whose rounding costs most stay higher."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.progress import Progress as Bar
from torch import Tensor

from deployments.settings import Task
from engine.checkpoint import Checkpoint, open_checkpoint
from engine.errors import ConfigError
from engine.kernels import select_kernels
from engine.models.transform import Transform
from engine.quality.compare import Comparison, compare, run_through
from engine.quality.load import load_probe
from engine.quality.samples import Sample
from engine.quantization import sensitivity
from engine.quantization.calibrate import Calibration, Options
from engine.quantization.observing import Observing
from engine.quantization.prepare import load_products
from engine.quantization.recipe import HIGHER, Kept, Recipe, quantize
from engine.quantization.weight import Scheme, Weight

# What all quantized products together may cost on the calibration data: KL from bf16 in nats, for vectors 1 - cosine.
# Well within the gate's defaults. A perplexity 2% higher is 0.02 nats, and it rises by up to twice the KL (measured
# with SmolLM2).
BUDGET: dict[Task, float] = {
    "text-generation": 0.01,
    "text-classification": 0.01,
    "translation": 0.01,
    "embedding": 0.002,
}
FEW = {"text-generation": 8}  # samples to measure losses on; of short ones more
MANY = 128


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. `keep` are names or patterns of products that stay higher; "auto" lets their measured losses
    decide, "none" quantizes all."""

    precision: Scheme
    group: int = 32
    keep: Literal["auto", "none"] | tuple[str, ...] = "auto"


def make_recipe(base: Path, task: Task, wish: Wish, samples: Sequence[Sample], bar: Bar) -> Recipe:
    """The recipe for the model at `base`, calibrated on the samples.

    Raises ConfigError for names that the model does not have, CheckpointError and EngineFailed.
    """
    with open_checkpoint(base) as checkpoint:
        observing = observe(checkpoint, task, samples, bar)
        calibration = calibrate(checkpoint, wish, observing, bar)
        if wish.keep == "none":
            return calibration.recipe()
        if wish.keep != "auto":
            return calibration.recipe(dict.fromkeys(named(wish.keep, calibration.sizes), HIGHER[wish.precision]))
        return calibration.recipe(find_kept(checkpoint, task, calibration, samples[: FEW.get(task, MANY)], bar))


def observe(checkpoint: Checkpoint, task: Task, samples: Sequence[Sample], bar: Bar) -> Observing:
    """What goes into the products of the model in fp32 on these samples."""
    observing = Observing(select_kernels("cpu", torch.float32))
    probe = load_probe(checkpoint, task, observing.kernels, observing.transform)
    line = bar.add_task("Calibrating", total=len(samples))
    run_through(probe, samples, lambda done, total: bar.update(line, completed=done))
    return observing


def calibrate(checkpoint: Checkpoint, wish: Wish, observing: Observing, bar: Bar) -> Calibration:
    """Each product's choice."""
    calibration = Calibration(Options(wish.precision, wish.group), observing.products)
    line = bar.add_task("Choosing for each product", total=len(observing.products))

    def chosen(name: str, weight: Weight) -> Weight:
        found = calibration.transform(name, weight)
        bar.advance(line)
        return found

    load_products(checkpoint, torch.float32, chosen)
    return calibration


def find_kept(
    checkpoint: Checkpoint, task: Task, calibration: Calibration, samples: Sequence[Sample], bar: Bar
) -> Mapping[str, Kept]:
    """The products that stay higher so that the rest costs no more than the budget, by measurement: of the model with
    all of them quantized, and where that costs too much, with ranges of them kept."""
    kernels = select_kernels("cpu", torch.bfloat16)
    higher = HIGHER[calibration.options.precision]
    reference = load_probe(checkpoint, task, kernels)
    groups = sensitivity.ranges(tuple(calibration.sizes))
    line = bar.add_task("Measuring what quantizing costs", total=1)
    made: dict[tuple[str, Scheme | None], Weight] = {}

    def loss(kept: frozenset[str]) -> float:
        recipe = calibration.recipe(dict.fromkeys(kept, higher))
        found = compare(
            reference,
            load_probe(checkpoint, task, kernels, quantizing(recipe, made)),
            samples,
            lambda done, total: None,
        )
        bar.update(line, advance=1, total=1 if not kept else 2 + len(groups))
        return loss_of(task, found)

    kept = sensitivity.find_kept(groups, calibration.sizes, loss, BUDGET[task])
    return dict.fromkeys(kept, higher)


def quantizing(recipe: Recipe, made: dict[tuple[str, Scheme | None], Weight]) -> Transform:
    """The transform that quantizes as the recipe says, each product at each precision once: `made` are those."""

    def transform(name: str, weight: Weight) -> Weight:
        assert isinstance(weight, Tensor)
        scheme = recipe.scheme(name)
        if scheme is None:
            return weight
        if (name, scheme) not in made:
            made[name, scheme] = quantize(name, weight, recipe)
        return made[name, scheme]

    return transform


def loss_of(task: Task, found: Comparison) -> float:
    """In the units of the budget."""
    return 1 - found.cosine if task == "embedding" else found.kl


def named(patterns: Sequence[str], products: Mapping[str, int]) -> list[str]:
    """The products whose names fit a pattern ("head", "layers.0.*"). Raises ConfigError where none fits one."""
    found: list[str] = []
    for pattern in patterns:
        fitting = fnmatch.filter(products, pattern)
        if not fitting:
            some = ", ".join(sorted(products)[:8])
            raise ConfigError(f"--keep {pattern}: the model has no such product; it has {some}, ...", param="keep")
        found += fitting
    return sorted(set(found))
