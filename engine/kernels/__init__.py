"""The operations that models are made of, and the choice of who runs them."""

from __future__ import annotations

import torch

from engine.kernels import native
from engine.kernels.base import Activation, CacheBlocks, Embedding, Gate, Heads, HeadSetup, Kernels, Linear
from engine.kernels.torch_kernels import TorchKernels

__all__ = [
    "Activation",
    "CacheBlocks",
    "Embedding",
    "Gate",
    "HeadSetup",
    "Heads",
    "Kernels",
    "Linear",
    "TorchKernels",
    "select_kernels",
]


def select_kernels(device: str | torch.device, dtype: torch.dtype) -> Kernels:
    """Native kernels on the CPU where they can be built, torch's everywhere else."""
    device = torch.device(device)
    return native.kernels(dtype) if device.type == "cpu" else TorchKernels(dtype, device)
