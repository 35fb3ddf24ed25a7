"""What the loop asks of a task: translation, classification or generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from cluster.training.recipe import Recipe, RunFolder

Batch = dict[str, torch.Tensor]


class Task(Protocol):
    """Everything about a training that the loop does not know. Made before the workers are, so it must be small."""

    @property
    def recipe(self) -> Recipe: ...

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """Read the data; raise `ConfigError` for what is wrong with it."""

    def identity(self) -> Mapping[str, Any]:
        """All that the result depends on, in JSON's types: data by its digest, not by its place."""

    def prepare(self, run: RunFolder, device: torch.device) -> None:
        """What one worker does for all before the first step: vocabulary, the teacher's outputs."""

    def setup(self, run: RunFolder) -> Prepared:
        """Model and encoded data, the same on every worker."""


class Prepared(Protocol):
    """A task ready to run."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def lengths(self) -> Sequence[int]:
        """Of every training example, in the plan's unit."""

    def collate(self, indices: Sequence[int]) -> Batch:
        """Tensors of these training examples, padded to the longest."""

    def count(self, indices: Sequence[int]) -> int:
        """What the loss is divided by: tokens or examples."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Sum of the losses, a scalar in fp32."""

    def after_backward(self) -> None:
        """A last word on the gradients."""

    def validate(self, device: torch.device, epoch: int) -> Mapping[str, float]:
        """Figures on the validation data with the weights that are in the model now; `valid_loss` decides."""

    def export(self, folder: Path) -> None:
        """Write the model as a Hugging Face folder."""

    def evaluate(self, folder: Path) -> Mapping[str, float]:
        """Quality of what was exported, on the test data."""
