"""Dropout for the CPU with eight decisions out of one random number.

torch draws one number for each element, a tenth of a small model's training step. A byte each is enough: the
probability is rounded to 1/256, and what is kept is scaled by the rounded value, so that the mean stays exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class ByteDropout(TorchFunctionMode):
    """While active, `torch.nn.functional.dropout` on CPU tensors is `byte_dropout`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.nn.functional.dropout and not args[0].is_cuda:
            return byte_dropout(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def byte_dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """As `torch.nn.functional.dropout`, never in place; draws from torch's default generator."""
    dropped = round(p * 256)
    if not training or dropped == 0:
        return input
    if dropped >= 256:
        return torch.zeros_like(input)
    words = torch.empty((input.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.uint8)[: input.numel()].view(input.shape) >= dropped
    return input * (kept.to(input.dtype) * (256 / (256 - dropped)))
