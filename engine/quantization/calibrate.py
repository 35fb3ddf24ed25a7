"""From what went into a model's products to a recipe: each product's own choice, by the error of what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.quantization.compensation import describe_inputs
from engine.quantization.groups import TINY, Rounding
from engine.quantization.observers import OBSERVERS, Magnitudes, Observer
from engine.quantization.observing import Observation
from engine.quantization.products import product, relative_errors
from engine.quantization.recipe import Kept, Recipe, quantize
from engine.quantization.rounding import round_weight
from engine.quantization.smoothing import STRENGTHS, multipliers
from engine.quantization.weight import QuantizedWeight, Scheme, Weight

TRIED_ROWS = 128  # of the sample; the extremes come on top
TRIED_OUTPUTS = 1024
NEGLIGIBLE = 1e-8  # an error that nothing needs to be better than: weights that were on the grid already
CLEARLY = 0.9  # of the error without it: what must be got below by what is not needed, smoothing say


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
    """For one product. `error`: see `product_error`."""

    error: float
    multiplier: Tensor | None = None
    inputs: Tensor | None = None
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
            {name: c.inputs for name, c in used.items() if c.inputs is not None},
            {name: c.strength for name, c in used.items() if c.strength is not None},
            {name: c.observer for name, c in used.items() if c.observer is not None},
        )


def choose(name: str, weight: Tensor, seen: Observation | None, options: Options) -> Choice:
    """The choice with the least error of the product of weight (N, K) on a sample of its inputs and outputs."""
    stride = -(-len(weight) // TRIED_OUTPUTS)
    some = weight[::stride].float()
    if seen is None or not seen.enough:
        if options.precision == "int8-static":
            options = replace(options, precision="int8-dynamic")
        recipe = Recipe(options.precision, options.group, options.rounding)
        return Choice(weight_error(some, quantize(name, some, recipe)))
    best: Choice | None = None
    for candidate, quantized in _candidates(some, seen, options):
        if best is not None and best.error < NEGLIGIBLE:
            break
        error = product_error(some, quantized, seen)
        # The first candidate is the plainest.
        if best is None or error < best.error * (CLEARLY if options.precision != "int8-static" else 1.0):
            best = replace(candidate, error=error)
    assert best is not None
    return _final(best, weight, seen)


def product_error(weight: Tensor, quantized: Weight, seen: Observation | None) -> float:
    """What rounding does to the product of weight (N, K), by `relative_errors`; that of the weight without a sample.

    The mean over the sample, plus the worst of the extremes: a clip that ruins a few tokens far longer than the rest,
    on which all others lean, looks good on average and ruins the model. And the weight's own where it is an embedding
    too: what makes good for errors in a product must not spoil that.
    """
    if seen is None or not seen.enough:
        return weight_error(weight, quantized)
    sample = seen.sample[:TRIED_ROWS]
    x = torch.cat([sample, seen.extremes])
    errors = relative_errors(product(x, weight), product(x, quantized))
    own = weight_error(weight, quantized) if seen.looked_up else 0.0
    return float(errors[: len(sample)].mean() + errors[len(sample) :].max()) + own


def weight_error(weight: Tensor, quantized: Weight) -> float:
    """Squared error to squared norm of the weight itself."""
    found = quantized.dequantized() if isinstance(quantized, QuantizedWeight) else quantized
    weight = weight.float()
    return float((found - weight).square().sum() / weight.square().sum().clamp(min=torch.finfo(torch.float32).tiny))


def _candidates(some: Tensor, seen: Observation, options: Options) -> Iterator[tuple[Choice, Weight]]:
    """Choices, their errors still open, each with these rows of the weight as it has them."""
    scheme = options.precision

    def rounded(multiplier: Tensor | None = None, inputs: Tensor | None = None) -> Weight:
        found = round_weight(
            some,
            scheme,
            group=options.group,
            rounding=options.rounding,
            multiplier=multiplier,
            inputs=inputs,
        )
        return some if found is None else found

    if scheme in ("int8-weight", "int4-weight"):
        yield Choice(0.0), rounded()
        if options.rounding == "fitted" and bool(seen.channels.absmax.any()):
            inputs = describe_inputs(seen.sample, seen.channels.mean_square)
            for described in (inputs[:1], inputs) if scheme == "int4-weight" else (inputs[:1],):
                yield Choice(0.0, inputs=described), rounded(inputs=described)
        return
    # Fitted to one half of the rows, judged by the other.
    absmax, columns = seen.fitted.absmax, some.abs().amax(0)
    for strength in (None, *options.strengths):
        factor = _factor(absmax, columns, strength)
        plain = strength is None and scheme != "int8-static"
        quantized = rounded(None if plain else factor)
        if scheme != "int8-static":
            yield Choice(0.0, strength=strength), quantized
            continue
        assert isinstance(quantized, QuantizedWeight)
        for observer in options.observers:
            step = _step(absmax * factor, seen.sample * factor, observer)
            # The scales of rows take a common factor as it is: the numbers stay.
            static = replace(quantized, scales=quantized.scales * step, multiplier=factor / step)
            yield Choice(0.0, strength=strength, observer=observer), static


def _final(choice: Choice, weight: Tensor, seen: Observation) -> Choice:
    """With its multiplier, made of all that was seen."""
    if choice.strength is None and choice.observer is None:
        return choice
    absmax = seen.channels.absmax
    factor = _factor(absmax, weight.abs().amax(0).float(), choice.strength)
    if choice.observer is not None:
        factor = factor / _step(absmax * factor, seen.sample * factor, choice.observer)
    return replace(choice, multiplier=factor)


def _factor(absmax: Tensor, columns: Tensor, strength: float | None) -> Tensor:
    return torch.ones_like(absmax) if strength is None else multipliers(absmax, columns, strength)


def _step(absmax: Tensor, sample: Tensor, observer: Observer) -> float:
    """The static step for smoothed inputs."""
    if observer == "min-max":
        return max(float(absmax.max()), TINY) / 127
    magnitudes = Magnitudes()
    magnitudes.see(sample)
    return magnitudes.scale(observer)
