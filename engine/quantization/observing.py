"""Models that are run to learn what goes into their products: kernels that look on, and the transform for them.

observing = Observing(kernels)
decoder = load_decoder(checkpoint, observing.kernels, length, transform=observing.transform)
...  # run it on data
observing.products["layers.3.qkv"]
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.kernels.base import Activation, Embedding, Gate, Kernels, Linear
from engine.quantization.observers import Channels, Rows
from engine.quantization.weight import Weight

SAMPLED = 512  # rows kept of each product's inputs
EXTREMES = 16  # rows with the greatest values, beside them


class Observation:
    """What went into one product. `looked_up` where its weight is an embedding too, whose rows are used as they are.

    Of all rows a random half is in `fitted`, for choices to be made with; the sample is of the others, for them to be
    judged by: what is fitted to the greatest values seen must do for those that were not.
    """

    looked_up = False

    def __init__(self, name: str, width: int, sampled: int = SAMPLED, seed: int = 0) -> None:
        self.name = name
        self.channels = Channels(width)
        self.fitted = Channels(width)
        self._sample = Rows(sampled)
        self._extremes = Rows(EXTREMES)
        self._random = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))

    def see(self, x: Tensor) -> None:
        """x (T, K). Raises CheckpointError where it is not finite: nothing can be chosen by that."""
        x = x.detach().cpu()
        if not bool(x.isfinite().all()):
            raise CheckpointError(
                f"{self.name}: what goes into it is not finite on the calibration data; the model is damaged, or it "
                "overflows in fp32"
            )
        self.channels.see(x)
        keys = torch.rand(len(x), generator=self._random)
        fitted = torch.rand(len(x), generator=self._random) < 0.5
        self.fitted.see(x[fitted])
        self._sample.see(x[~fitted], keys[~fitted])
        self._extremes.see(x, x.float().abs().amax(1))

    @property
    def enough(self) -> bool:
        """Whether both halves have rows, with anything but zeros."""
        return 0 < self.fitted.rows < self.channels.rows and bool(self.channels.absmax.any())

    @property
    def sample(self) -> Tensor:
        """(rows, K) fp32, drawn evenly from all that were seen and are not in `fitted`."""
        return self._tensor(self._sample)

    @property
    def extremes(self) -> Tensor:
        """(rows, K) fp32, those with the greatest absolute values."""
        return self._tensor(self._extremes)

    def _tensor(self, rows: Rows) -> Tensor:
        found = rows.tensor()
        return torch.empty(0, len(self.channels.absmax)) if found is None else found.float()


@dataclass(frozen=True, slots=True)
class Observed:
    """Stands for a product's weight (N, K) until the kernels get it."""

    name: str
    weight: Tensor
    counts: bool = True  # of the parts of one weight, which get the same inputs, only the first

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.weight.shape)

    def __len__(self) -> int:
        return len(self.weight)

    def numel(self) -> int:
        return self.weight.numel()

    def chunk(self, count: int) -> tuple[Observed, ...]:
        parts = self.weight.chunk(count)
        return tuple(replace(self, weight=part, counts=self.counts and not i) for i, part in enumerate(parts))


class Observing:
    """`kernels` compute as those within and note in `products` what goes in, under the names `transform` was given.

    Outputs are those of the weights as they are. Products that get no input stay without an entry.
    """

    def __init__(self, inner: Kernels, sampled: int = SAMPLED, seed: int = 0) -> None:
        self.products: dict[str, Observation] = {}
        self.kernels = cast(Kernels, _ObservingKernels(inner, self))
        self._sampled, self._seed = sampled, seed
        self._embeddings: set[str] = set()

    def transform(self, name: str, weight: Weight) -> Weight:
        """What `load_decoder` and its like take as transform."""
        assert isinstance(weight, Tensor)
        return cast(Weight, Observed(name, weight))

    def look_up(self, name: str) -> None:
        """The weight is used as an embedding; told before the first input comes."""
        self._embeddings.add(name)

    def see(self, name: str, x: Tensor) -> None:
        """x (..., K) goes into the product."""
        x = x.reshape(-1, x.shape[-1])
        if name not in self.products:
            self.products[name] = Observation(name, x.shape[-1], self._sampled, self._seed)
            self.products[name].looked_up = name in self._embeddings
        self.products[name].see(x)


@dataclass(frozen=True, slots=True)
class _ObservedLinear:
    inner: Linear
    name: str
    observing: Observing

    def __call__(self, x: Tensor, activation: Activation = "none") -> Tensor:
        self.observing.see(self.name, x)
        return self.inner(x, activation)

    def add_to(self, hidden: Tensor, x: Tensor) -> None:
        self.observing.see(self.name, x)
        self.inner.add_to(hidden, x)

    def logits(self, x: Tensor) -> Tensor:
        self.observing.see(self.name, x)
        return self.inner.logits(x)


@dataclass(frozen=True, slots=True)
class _ObservedGate:
    inner: Gate
    name: str
    observing: Observing

    def __call__(self, x: Tensor) -> Tensor:
        self.observing.see(self.name, x)
        return self.inner(x)


class _ObservingKernels:
    """All but products is the inner kernels' own."""

    def __init__(self, inner: Kernels, observing: Observing) -> None:
        self._inner, self._observing = inner, observing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def linear(self, weight: Weight | Observed, bias: Tensor | None = None) -> Linear:
        if not isinstance(weight, Observed):
            return self._inner.linear(weight, bias)
        return self._watched(weight, self._inner.linear(weight.weight, bias))

    def gate(self, weight: Weight | Observed, activation: Activation) -> Gate:
        if not isinstance(weight, Observed):
            return self._inner.gate(weight, activation)
        return _ObservedGate(self._inner.gate(weight.weight, activation), weight.name, self._observing)

    def embedding(self, weight: Weight | Observed, scale: float = 1.0) -> Embedding:
        if not isinstance(weight, Observed):
            return self._inner.embedding(weight, scale)
        self._observing.look_up(weight.name)
        return self._inner.embedding(weight.weight, scale)

    def tied_embedding(
        self, weight: Weight | Observed, scale: float = 1.0, bias: Tensor | None = None
    ) -> tuple[Embedding, Linear]:
        if not isinstance(weight, Observed):
            return self._inner.tied_embedding(weight, scale, bias)
        self._observing.look_up(weight.name)
        embedding, head = self._inner.tied_embedding(weight.weight, scale, bias)
        return embedding, self._watched(weight, head)

    def _watched(self, weight: Observed, linear: Linear) -> Linear:
        return _ObservedLinear(linear, weight.name, self._observing) if weight.counts else linear
