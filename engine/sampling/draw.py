"""Choosing a token from logits: the highest, or a draw by inverse CDF, without sorting the vocabulary.

Whatever is not exact arithmetic is done for one row at a time or element by element, so that a row's result is bit for
bit the same alone and in any batch. Ties are always taken in the order of token ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engine.request import SamplingParams

BLOCK = 256  # tokens per partial sum; rows are padded to a multiple of it with -inf
_CHUNK = 8  # rows weighed at a time: 1.6 MB at 49,152 tokens, which stays in the second-level cache
_NUCLEUS_SIZES = (64, 512, 4096)  # tokens to try for top_p, before all of them
_COLDEST = 1e-30  # temperature; below it a float32 would become 0
_LOWEST = float(np.finfo(np.float32).min)


def padded_rows(logits: torch.Tensor, indices: Sequence[int]) -> torch.Tensor:
    """The rows' logits as a new float32 tensor on the CPU: (rows, vocabulary rounded up to BLOCK), -inf beyond it."""
    size = logits.shape[1]
    whole = len(indices) == logits.shape[0]
    chosen = logits if whole else logits[torch.tensor(indices, device=logits.device)]
    rows = torch.empty(len(indices), -(-size // BLOCK) * BLOCK)
    rows[:, :size].copy_(chosen)
    rows[:, size:] = -torch.inf
    return rows


def argmax(logits: torch.Tensor) -> list[int]:
    """Each row's highest token (rows, vocabulary) -> (rows); the lowest id on ties."""
    if logits.device.type != "cpu":
        ids = torch.arange(logits.shape[1], device=logits.device)
        best = logits == logits.amax(dim=1, keepdim=True)
        found: list[int] = torch.where(best, ids, logits.shape[1] - 1).amin(dim=1).tolist()
        return found
    if logits.dtype not in (torch.bfloat16, torch.float16):
        return [int(row.argmax()) for row in logits.detach().numpy()]
    # Positive 16-bit floats are ordered as their bits are, and integers are compared ten times as fast.
    tokens = []
    for index, bits in enumerate(logits.view(torch.int16).numpy()):
        token = int(bits.argmax())
        if bits[token] <= 0:  # no positive logit: negative ones are ordered backwards, and -0.0 equals 0.0
            token = int(logits[index].float().numpy().argmax())
        tokens.append(token)
    return tokens


@dataclass(slots=True)
class Weighed:
    """A row's exp((logit - maximum) / temperature), and its running sum by blocks of BLOCK tokens (float64)."""

    index: int
    maximum: float
    weights: np.ndarray  # (padded vocabulary,) float32; valid until the next row is asked for
    running: np.ndarray  # (blocks,)

    @property
    def total(self) -> float:
        return float(self.running[-1])


def weigh(rows: torch.Tensor, indices: Sequence[int], temperatures: Sequence[float]) -> Iterator[Weighed]:
    """Weigh the chosen rows of (n, padded vocabulary), a few at a time; `rows` is left as it is."""
    buffer = torch.empty(min(_CHUNK, len(indices)), rows.shape[1])
    for start in range(0, len(indices), _CHUNK):
        chunk = list(indices[start : start + _CHUNK])
        scale = torch.tensor([max(t, _COLDEST) for t in temperatures[start : start + _CHUNK]]).float().unsqueeze(1)
        weights = torch.index_select(rows, 0, torch.tensor(chunk), out=buffer[: len(chunk)])
        maxima = weights.amax(dim=1, keepdim=True)
        # Subtracting first keeps low temperatures from overflowing: the best stays at 0, and all else is below.
        weights.sub_(maxima).div_(scale).exp_()
        sums = weights.view(len(chunk), -1, BLOCK).sum(dim=2)
        running = np.cumsum(sums.numpy(), axis=1, dtype=np.float64)
        highest, weighed = maxima[:, 0].tolist(), weights.numpy()
        for row, index in enumerate(chunk):
            yield Weighed(index, highest[row], weighed[row], running[row])


def draw_weighed(weighed: Weighed, u: float) -> int | None:
    """Draw from all tokens; None when there is no distribution to draw from (a NaN, or every logit -inf)."""
    if not np.isfinite(weighed.total):
        return None
    block, rest = _invert(weighed.running, u * weighed.total)
    within = np.cumsum(weighed.weights[block * BLOCK : (block + 1) * BLOCK], dtype=np.float64)
    return block * BLOCK + _invert(within, rest)[0]


def draw_truncated(logits: np.ndarray, params: SamplingParams, u: float, total: float | None) -> int | None:
    """Draw from what top_k, then top_p, then min_p leave of one row (padded vocabulary,).

    `total` is the row's sum of weights; needed where there is a top_p and no top_k. None as in `draw_weighed`.
    Only values are sorted, and the drawn one is looked up: sorting token ids along would take many times as long.
    """
    if 0 < params.top_k < len(logits):
        values = _highest(logits, params.top_k)[: params.top_k]
        weights = _weights(values, params.temperature)
        weights = weights[: _nucleus(weights, params.top_p, float(weights.sum(dtype=np.float64)))]
    elif params.top_p < 1:
        assert total is not None
        for count in (*_NUCLEUS_SIZES, len(logits)):
            values = _highest(logits, count)
            weights = _weights(values, params.temperature)
            kept = _nucleus(weights, params.top_p, total)
            if kept < len(values):
                break
        weights = weights[:kept]
    else:  # only min_p: down to the logit where it cuts, and a hair more
        maximum = float(logits.max())
        floor = maximum + params.temperature * math.log(params.min_p)
        floor -= 1e-5 * (abs(maximum) + abs(floor))
        values = _descending(logits[logits >= max(floor, _LOWEST)])
        weights = _weights(values, params.temperature)
    if params.min_p > 0:  # against the heaviest token, whose weight is 1
        weights = weights[: np.count_nonzero(weights >= params.min_p)]
    if not len(weights):
        return None
    running = np.cumsum(weights, dtype=np.float64)
    place, _ = _invert(running, u * float(running[-1]))
    before = np.count_nonzero(values > values[place])  # equal logits are in the order of their ids
    return int(np.flatnonzero(logits == values[place])[place - before])


def largest(logits: np.ndarray, count: int) -> np.ndarray:
    """The tokens of the `count` highest logits, best first; those at -inf are left out, so there may be fewer."""
    tokens = np.flatnonzero(logits >= _floor(logits, count))
    order = np.argsort(-logits[tokens], kind="stable")[:count]
    found: np.ndarray = tokens[order]
    return found


def _highest(logits: np.ndarray, count: int) -> np.ndarray:
    """The highest logits, best first: at least `count`, unless there are fewer above -inf."""
    return _descending(logits[logits >= _floor(logits, count)])


def _floor(logits: np.ndarray, count: int) -> float:
    """A value that at least `count` logits reach, and few others; or the lowest finite one.

    Found without a sort: the maxima of disjoint groups are themselves logits, so the `count`-th highest of them is
    reached by `count` logits.
    """
    if count >= len(logits):
        return _LOWEST
    group = next((size for size in (64, 16, 4) if len(logits) // size > 2 * count), 1)
    maxima = logits.reshape(group, -1).max(axis=0)
    return max(float(np.partition(maxima, len(maxima) - count)[len(maxima) - count]), _LOWEST)


def _descending(values: np.ndarray) -> np.ndarray:
    return np.sort(values)[::-1]


def _weights(values: np.ndarray, temperature: float) -> np.ndarray:
    """exp((value - highest) / temperature), for float32 values best first."""
    with np.errstate(all="ignore"):
        found: np.ndarray = np.exp((values - values[:1]) / np.float32(max(temperature, _COLDEST)))
    return found


def _nucleus(weights: np.ndarray, top_p: float, total: float) -> int:
    """How many of the weights, heaviest first, it takes to reach `top_p` of `total`: at least one."""
    if top_p >= 1:
        return len(weights)
    reached = int(np.searchsorted(np.cumsum(weights, dtype=np.float64), top_p * total, side="left"))
    return min(reached + 1, len(weights))


def _invert(running: np.ndarray, target: float) -> tuple[int, float]:
    """The first entry whose running sum exceeds `target`, and what is left of `target` there.

    Rounding can put `target` at the end or past it: then the last entry that adds anything.
    """
    last = int(np.searchsorted(running, running[-1], side="left"))
    index = min(int(np.searchsorted(running, target, side="right")), last)
    return index, target - float(running[index - 1]) if index else target
