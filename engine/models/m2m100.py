"""M2M100 and NLLB: mBART's layers with sinusoidal positions, numbered from behind the padding token's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from engine.models.architecture import reads_config
from engine.models.bart import Weights, read
from engine.models.cross_architecture import Seq2SeqArchitecture


@reads_config
def architecture(config: Mapping[str, Any]) -> Seq2SeqArchitecture:
    """Reads config.json. Raises CheckpointError for what it lacks or what is not supported."""
    padding = config.get("pad_token_id", 1)
    if not isinstance(padding, int) or padding < 0:
        raise CheckpointError(f"config.json: pad_token_id must be a token id, not {padding!r}")
    defaults = {"activation_function": "relu", "scale_embedding": True}
    return read({**defaults, **config}, norm_first=True, position_offset=padding + 1, padding_token=padding)


def weights(checkpoint: Checkpoint, arch: Seq2SeqArchitecture, dtype: torch.dtype) -> Weights:
    """A checkpoint's tensors."""
    padding = arch.encoder.padding_token
    assert padding is not None
    return Weights(checkpoint, arch, dtype, lambda rows: sinusoids(rows, arch.decoder.hidden_size, padding))


def sinusoids(rows: int, width: int, padding: int) -> Tensor:
    """(rows, width) fp32: all sines, then all cosines; zeros for the padding token and for what an odd width has left.

    The rates are those of tensor2tensor: their last one is exactly 1 / 10000.
    """
    half = width // 2
    rates = torch.exp(torch.arange(half) * -(math.log(10000.0) / max(half - 1, 1)))
    angles = torch.arange(rows).float().unsqueeze(1) * rates
    table = torch.zeros(rows, width)
    table[:, : 2 * half] = torch.cat([angles.sin(), angles.cos()], dim=1)
    table[padding] = 0
    return table
