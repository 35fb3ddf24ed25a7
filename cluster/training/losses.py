"""Losses, each a sum over tokens or examples in fp32, so that micro-batches of any size add up.

V: size of the vocabulary, C: number of labels, N: tokens or examples.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def token_loss(logits: torch.Tensor, targets: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy of `logits` (N, V) against `targets` (N), a share `smoothing` of it against all of V evenly."""
    return functional.cross_entropy(logits.float(), targets, label_smoothing=smoothing, reduction="sum")


def label_loss(logits: torch.Tensor, labels: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """One label of C: `logits` (N, C), `labels` (N) as integers."""
    return token_loss(logits, labels, smoothing=smoothing)


def labels_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Any number of C labels: both (N, C), `labels` 0 or 1. The mean over C, so that C does not scale the rate."""
    sums = functional.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="sum")
    return sums / logits.shape[-1]


def value_loss(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Regression: `logits` (N, 1) against `values` (N), squared error."""
    return functional.mse_loss(logits.float().squeeze(-1), values.float(), reduction="sum")


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """Kullback-Leibler divergence from the teacher's softened distribution; both (N, C).

    Times the temperature squared, which keeps the gradient's size independent of it.
    """
    student = functional.log_softmax(logits.float() / temperature, dim=-1)
    target = functional.log_softmax(teacher.float() / temperature, dim=-1)
    return functional.kl_div(student, target, reduction="sum", log_target=True) * temperature**2
