"""How rows choose their next tokens, as plain data, and the choosing: it happens where the logits are, and only what
was chosen travels on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.kernels import Kernels
from engine.request import SamplingParams
from engine.sampling.row import Row
from engine.sampling.sampler import sample
from engine.seq2seq.restrict import Restricted, apply


@dataclass(frozen=True, slots=True)
class Draw:
    """How a row's token is drawn; the position is its number among the generated ones."""

    params: SamplingParams
    position: int


@dataclass(frozen=True, slots=True)
class Choice:
    """For so many `rows`: the `count` best tokens of each, or with `draws`, one a row, a drawn one."""

    rows: int
    count: int
    restricted: Restricted
    draws: tuple[Draw, ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """Each row's tokens (R, K), best first, with their log-probabilities (R, K)."""

    scores: NDArray[np.float32]
    tokens: NDArray[np.int32]


@torch.inference_mode()
def choose(logits: Tensor, choices: Sequence[Choice], kernels: Kernels) -> tuple[Chosen, ...]:
    """For the rows of all choices, one after another: logits (R, V) fp32, which are changed."""
    if len(choices) == 1:
        return (_choose(logits, choices[0], kernels),)
    parts = logits.split([choice.rows for choice in choices])
    return tuple(_choose(part, choice, kernels) for part, choice in zip(parts, choices, strict=True))


def _choose(logits: Tensor, choice: Choice, kernels: Kernels) -> Chosen:
    log_sums = kernels.log_sums(logits)
    apply(choice.restricted, logits, log_sums)
    if choice.draws:
        rows = [Row(draw.params, range(draw.position), []) for draw in choice.draws]  # the length alone matters
        ids = torch.tensor([[one.token] for one in sample(logits, rows)], device=logits.device)
        values = logits.gather(1, ids)
    else:
        values, ids = kernels.best(logits, min(choice.count, logits.shape[1]))
    scores = values - log_sums[:, None]
    return Chosen(scores.cpu().numpy(), ids.to(torch.int32).cpu().numpy())
