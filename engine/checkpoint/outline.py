"""A checkpoint whose matrices are not read: for what follows from their shapes alone."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.checkpoint.base import Checkpoint
from engine.quantization.weight import Scheme, Weight
from engine.text.tokenizer import Tokenizer


class Outline(Checkpoint):
    """Gives matrices without values ("meta") after `start`, and remembers which were asked for. Before that all are
    read: families compare some tables when they are made."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.inner = checkpoint
        self.path, self.config = checkpoint.path, checkpoint.config
        self.precision, self.generation_config = checkpoint.precision, checkpoint.generation_config
        self.names_read: set[str] = set()
        self.started = False

    def start(self) -> None:
        self.started = True

    def names(self) -> frozenset[str]:
        return self.inner.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self.inner.shape(name)

    def alike(self, one: str, other: str, dtype: torch.dtype) -> bool:
        return self.inner.alike(one, other, dtype)  # which is no reading of either

    def held(self, name: str, weight: Weight) -> tuple[Scheme | None, int]:
        return self.inner.held(name, weight)

    def _read(self, name: str, dtype: torch.dtype) -> Tensor:
        shape = self.shape(name)
        if not self.started or len(shape) < 2:
            return self.inner.tensor(name, dtype)
        self.names_read.add(name)
        return torch.empty(shape, dtype=dtype, device="meta")

    def tokenizer(self) -> Tokenizer:
        return self.inner.tokenizer()

    def close(self) -> None:
        self.inner.close()
