"""What is learnt about a product's inputs (T, K) as they pass by; memory does not grow with their number."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Observer = Literal["min-max", "percentile", "mse"]
OBSERVERS: tuple[Observer, ...] = get_args(Observer)

LEVELS = 127.0  # numbers on either side of zero
BINS = 8192
PERCENTILE = 0.9999
NARROWEST = 1e-3  # of the greatest value: the narrowest clip that is tried
CLIPS = 160


class Channels:
    """Greatest absolute value and mean square of every input."""

    def __init__(self, width: int) -> None:
        self.absmax = torch.zeros(width)
        self.rows = 0
        self._squares = torch.zeros(width, dtype=torch.float64)

    def see(self, x: Tensor) -> None:
        """x (T, K)"""
        if not len(x):
            return
        x = x.detach().float().cpu()
        self.absmax = torch.maximum(self.absmax, x.abs().amax(0))
        self._squares += x.double().square().sum(0)
        self.rows += len(x)

    @property
    def mean_square(self) -> Tensor:
        """(K,) fp32"""
        return (self._squares / max(1, self.rows)).float()


class Magnitudes:
    """A histogram of absolute values. Its range doubles when a value is beyond it: two bins become one."""

    def __init__(self, bins: int = BINS) -> None:
        self.absmax = 0.0
        self._range = 0.0
        self._counts = torch.zeros(bins, dtype=torch.float64)

    def see(self, x: Tensor) -> None:
        """Values of any shape."""
        if not x.numel():
            return
        values = x.detach().float().abs().flatten().cpu()
        largest = float(values.max())
        self.absmax = max(self.absmax, largest)
        if self._range == 0.0:
            self._range = largest  # still 0 where all values are: they count once the range is known
            if largest == 0.0:
                self._counts[0] += len(values)
                return
        while self._range < largest:
            pairs = self._counts.view(-1, 2).sum(1)
            self._counts = torch.cat([pairs, torch.zeros_like(pairs)])
            self._range *= 2
        bins = len(self._counts)
        place = (values * (bins / self._range)).long().clamp_(max=bins - 1)
        self._counts += torch.bincount(place, minlength=bins)

    def scale(self, observer: Observer) -> float:
        """The step of static int8 numbers for what was seen."""
        if self.absmax == 0.0:
            return 1.0
        if observer == "min-max":
            return self.absmax / LEVELS
        clip = self._percentile() if observer == "percentile" else self._least_squares()
        return min(clip, self.absmax) / LEVELS

    def _percentile(self) -> float:
        """The value that all but a ten-thousandth stay under, to a bin."""
        total = self._counts.cumsum(0)
        place = int(torch.searchsorted(total, total[-1] * PERCENTILE))
        return (min(place, len(total) - 1) + 1) * self._range / len(total)

    def _least_squares(self) -> float:
        """The clip with the least squared error of rounding and clipping together."""
        width = self._range / len(self._counts)
        filled = self._counts.nonzero().flatten()
        middles, counts = (filled.double() + 0.5) * width, self._counts[filled]
        best, least = self.absmax, float("inf")
        for share in torch.logspace(0, torch.tensor(NARROWEST).log10().item(), CLIPS).tolist():
            clip = self.absmax * share
            step = clip / LEVELS
            rounded = ((middles / step).round().clamp(max=LEVELS) * step - middles).square()
            if step < width:  # a bin holds several steps: what its middle says of them is chance
                rounded = torch.where(middles < clip, step * step / 12, rounded)
            error = float((rounded * counts).sum())
            if error < least:
                best, least = clip, error
        return best


class Rows:
    """The `limit` rows with the greatest keys, with random keys a fair sample; in no particular order."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._keys = torch.empty(0)
        self._rows: Tensor | None = None

    def see(self, x: Tensor, keys: Tensor) -> None:
        """x (T, K), keys (T,)"""
        if len(self._keys) == self.limit and self.limit:
            wanted = keys > self._keys.min()
            x, keys = x[wanted], keys[wanted]
        elif len(keys) > self.limit:
            keys, chosen = keys.topk(self.limit)
            x = x[chosen]
        if not len(x):
            return
        held = x if self._rows is None else torch.cat([self._rows, x])
        every = torch.cat([self._keys, keys])
        self._keys, chosen = every.topk(min(self.limit, len(every)))
        self._rows = held[chosen]

    def tensor(self) -> Tensor | None:
        """(rows, K) in the dtype in which they came; None where none came."""
        return self._rows
