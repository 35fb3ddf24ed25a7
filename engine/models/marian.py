"""Marian (the OPUS-MT models): BART's layers with sinusoidal positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.models.architecture import reads_config
from engine.models.bart import Weights, read
from engine.models.cross_architecture import Seq2SeqArchitecture


@reads_config
def architecture(config: Mapping[str, Any]) -> Seq2SeqArchitecture:
    """Reads config.json. Raises CheckpointError for what it lacks or what is not supported."""
    return read({"activation_function": "swish", **config}, norm_first=False)


def weights(checkpoint: Checkpoint, arch: Seq2SeqArchitecture, dtype: torch.dtype) -> Weights:
    """A checkpoint's tensors; its stored positions, where it has some, are these sinusoids."""
    return Weights(checkpoint, arch, dtype, lambda rows: sinusoids(rows, arch.decoder.hidden_size))


def sinusoids(rows: int, width: int) -> Tensor:
    """(rows, width) fp32: all sines, then all cosines (Vaswani et al. 2017, arXiv 1706.03762, in another order)."""
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(torch.arange(rows, dtype=torch.float64), rates)
    return torch.cat([angles.sin(), angles.cos()[:, : width // 2]], dim=1).float()
