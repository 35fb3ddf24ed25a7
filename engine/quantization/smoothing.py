"""Equalization: outlying inputs are made smaller and their columns of the weight larger by the same factor.

After Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2022. The
factor goes into the product itself, where x is rounded, and not into the layer before.
"""

from __future__ import annotations

import torch
from torch import Tensor

STRENGTHS = (0.3, 0.45, 0.6, 0.7, 0.8, 0.9)
REACH = 1e4  # how far a multiplier may be from their geometric mean
SMALLEST = 1e-5  # of the greatest: inputs and columns below count as that large


def multipliers(inputs: Tensor, columns: Tensor, strength: float) -> Tensor:
    """What each input is multiplied by, (K,) fp32, positive, with 1 as geometric mean.

    From the greatest absolute values of the inputs and of the weight's columns, both (K,). With strength 1 all inputs
    become equally large, with 0 all columns of the weight.
    """
    inputs, columns = (_bounded(part.float()) for part in (inputs, columns))
    logs = (1 - strength) * columns.log() - strength * inputs.log()
    logs -= logs.mean()
    limit = float(torch.tensor(REACH).log())
    return logs.clamp(-limit, limit).exp()


def _bounded(absmax: Tensor) -> Tensor:
    largest = absmax.max()
    if not largest > 0:
        return torch.ones_like(absmax)
    return absmax.maximum(largest * SMALLEST)
