"""Reads a checkpoint's tensors by the names of its family, with or without a prefix."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.models.weights import Affine, NormWeights, stacked


class Named:
    """Tensors whose names may begin with `prefix`, each for itself: a folder may mix both.

    Where both are there, the one with the prefix is meant: a fine-tuned model's beside its base's.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, prefix: str) -> None:
        self.checkpoint = checkpoint
        self.dtype = dtype
        self.prefix = prefix
        self.names = checkpoint.names()

    def find(self, name: str) -> str | None:
        """The checkpoint's name for it, None where it has no such tensor."""
        return next((full for full in (self.prefix + name, name) if full in self.names), None)

    def has(self, name: str) -> bool:
        return self.find(name) is not None

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """Raises CheckpointError where it is missing."""
        return self.checkpoint.tensor(self.find(name) or self.prefix + name, dtype or self.dtype)

    def optional(self, name: str) -> Tensor | None:
        """fp32, or None where it is missing."""
        return self.tensor(name, torch.float32) if self.has(name) else None

    def affine(self, *modules: str) -> Affine:
        """The projections of these modules, stacked. Where only some have a bias, the others' is 0."""
        weights = [self.tensor(f"{module}.weight") for module in modules]
        biases = [self.optional(f"{module}.bias") for module in modules]
        return stacked(weights, biases)

    def norm(self, module: str) -> NormWeights:
        """Old checkpoints call a norm's weight gamma and its bias beta."""
        if self.has(f"{module}.gamma"):
            return NormWeights(self.tensor(f"{module}.gamma", torch.float32), self.optional(f"{module}.beta"))
        return NormWeights(self.tensor(f"{module}.weight", torch.float32), self.optional(f"{module}.bias"))
