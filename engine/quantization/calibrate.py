"""From what went into a model's products to a recipe: each product's own choice, by the error of what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.quantization.observers import OBSERVERS, Magnitudes, Observer
from engine.quantization.observing import Observation
from engine.quantization.products import product, relative_error
from engine.quantization.recipe import Kept, Recipe, quantize
from engine.quantization.rounding import Rounding, round_weight
from engine.quantization.smoothing import STRENGTHS, multipliers
from engine.quantization.weight import QuantizedWeight, Scheme, Weight

TRIED_ROWS = 128  # of the sample; the extremes come on top
TRIED_OUTPUTS = 1024
CLEARLY = 0.9  # of the error without it: what smoothing must get below where it is not needed


@dataclass(frozen=True, slots=True)
class Options:
    """What calibration may choose from. No `strengths` mean no smoothing."""

    precision: Scheme
    group: int = 32
    rounding: Rounding = "fitted"
    observers: tuple[Observer, ...] = OBSERVERS
    strengths: tuple[float, ...] = STRENGTHS


@dataclass(frozen=True, slots=True)
class Choice:
    """For one product. `error`: see `relative_error`."""

    error: float
    multiplier: Tensor | None = None
    importance: Tensor | None = None
    strength: float | None = None
    observer: Observer | None = None


class Calibration:
    """Makes a choice for every weight that `transform` sees.

    `products` is what `Observing` gathered; without one for a product it gets what needs no data, and an error that
    counts weights. Static products without data are kept at int8-dynamic.
    """

    def __init__(self, options: Options, products: Mapping[str, Observation]) -> None:
        self.options = options
        self.choices: dict[str, Choice] = {}
        self.sizes: dict[str, int] = {}
        self._products = products

    @property
    def errors(self) -> dict[str, float]:
        """Of the products by name."""
        return {name: choice.error for name, choice in self.choices.items()}

    def transform(self, name: str, weight: Weight) -> Weight:
        """Returns the weight as it is, for the next one who looks at it."""
        assert isinstance(weight, Tensor)
        self.choices[name] = choose(name, weight, self._products.get(name), self.options)
        self.sizes[name] = weight.numel()
        return weight

    def recipe(self, kept: Mapping[str, Kept] | None = None) -> Recipe:
        """The recipe with these choices. `kept` as in `Recipe`."""
        options = self.options
        needed: dict[str, Kept] = {}
        if options.precision == "int8-static":
            needed = {name: "int8-dynamic" for name, choice in self.choices.items() if choice.multiplier is None}
        needed |= kept or {}
        used = {name: choice for name, choice in self.choices.items() if needed.get(name) != "bf16"}
        return Recipe(
            options.precision,
            options.group,
            options.rounding,
            needed,
            {name: c.multiplier for name, c in used.items() if c.multiplier is not None},
            {name: c.importance for name, c in used.items() if c.importance is not None},
            {name: c.strength for name, c in used.items() if c.strength is not None},
            {name: c.observer for name, c in used.items() if c.observer is not None},
        )


def choose(name: str, weight: Tensor, seen: Observation | None, options: Options) -> Choice:
    """The choice with the least error of the product of weight (N, K) on a sample of its inputs and outputs."""
    stride = -(-len(weight) // TRIED_OUTPUTS)
    some = weight[::stride].float()
    if seen is None or not seen.channels.rows:
        if options.precision == "int8-static":
            options = replace(options, precision="int8-dynamic")
        recipe = Recipe(options.precision, options.group, options.rounding)
        return Choice(weight_error(some, quantize(name, some, recipe)))
    x = torch.cat([seen.sample[:TRIED_ROWS], seen.extremes])
    exact = product(x, some)
    best: Choice | None = None
    for candidate, quantized in _candidates(some, seen, options):
        error = relative_error(exact, product(x, quantized))
        # The first candidate is the plainest.
        if best is None or error < best.error * (CLEARLY if options.precision != "int8-static" else 1.0):
            best = replace(candidate, error=error)
    assert best is not None
    return best


def product_error(weight: Tensor, quantized: Weight, seen: Observation | None) -> float:
    """What rounding does to the product of weight (N, K): `relative_error` on the sample, of the weight without one."""
    if seen is None or not seen.channels.rows:
        return weight_error(weight, quantized)
    x = torch.cat([seen.sample[:TRIED_ROWS], seen.extremes])
    return relative_error(product(x, weight), product(x, quantized))


def weight_error(weight: Tensor, quantized: Weight) -> float:
    """Squared error to squared norm of the weight itself."""
    found = quantized.dequantized() if isinstance(quantized, QuantizedWeight) else quantized
    weight = weight.float()
    return float((found - weight).square().sum() / weight.square().sum().clamp(min=torch.finfo(torch.float32).tiny))


def _candidates(some: Tensor, seen: Observation, options: Options) -> Iterator[tuple[Choice, Weight]]:
    """Choices, their errors still open, each with these rows of the weight as it has them."""
    scheme, absmax = options.precision, seen.channels.absmax

    def rounded(multiplier: Tensor | None = None, importance: Tensor | None = None) -> Weight:
        found = round_weight(
            some,
            scheme,
            group=options.group,
            rounding=options.rounding,
            multiplier=multiplier,
            importance=importance,
        )
        return some if found is None else found

    if scheme in ("int8-weight", "int4-weight"):
        yield Choice(0.0), rounded()
        if options.rounding == "fitted":
            importance = seen.channels.mean_square
            yield Choice(0.0, importance=importance), rounded(importance=importance)
        return
    columns = some.abs().amax(0)
    for strength in (None, *options.strengths):
        factor = torch.ones_like(absmax) if strength is None else multipliers(absmax, columns, strength)
        quantized = rounded(None if strength is None and scheme != "int8-static" else factor)
        if scheme != "int8-static":
            factor_used = None if strength is None else factor
            yield Choice(0.0, factor_used, strength=strength), quantized
            continue
        assert isinstance(quantized, QuantizedWeight)
        magnitudes = Magnitudes()
        magnitudes.see(seen.sample * factor)
        for observer in options.observers:
            greatest = float((absmax * factor).max())
            step = magnitudes.scale(observer) if observer != "min-max" else max(greatest, 1e-30) / 127
            # The scales of rows take a common factor as it is: the numbers stay.
            static = replace(quantized, scales=quantized.scales * step, multiplier=factor / step)
            yield Choice(0.0, factor / step, strength=strength, observer=observer), static
