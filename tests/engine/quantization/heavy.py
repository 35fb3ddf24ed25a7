"""Weights and inputs as trained models have them: heavy tails, a few outlying inputs."""

from __future__ import annotations

import torch
from torch import Tensor


def heavy_weight(rows: int, width: int, seed: int = 0) -> Tensor:
    """(rows, width) from Student's t with 4 degrees of freedom, times a level for each row."""
    random = torch.Generator().manual_seed(seed)
    normal = torch.randn(rows, width, generator=random)
    spread = torch.randn(4, rows, width, generator=random).square().mean(0).sqrt()
    return normal / spread * 0.05 * (torch.randn(rows, 1, generator=random) / 2).exp()


def outlying_inputs(tokens: int, width: int, seed: int = 1, factor: float = 40.0) -> Tensor:
    """(tokens, width), every sixteenth input `factor` times larger than the rest."""
    x = torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed))
    x[:, ::16] *= factor
    return x


def grid_weight(rows: int, groups: int, seed: int = 2) -> Tensor:
    """As a GGUF file's Q4_1 has it: groups of 32, a half-precision step times 0..15 plus a half-precision minimum."""
    random = torch.Generator().manual_seed(seed)
    numbers = torch.randint(0, 16, (rows, groups, 32), generator=random).float()
    numbers[..., 0], numbers[..., 1] = 0, 15
    step = (torch.rand(rows, groups, 1, generator=random) * 0.02 + 1e-3).half().float()
    low = (torch.randn(rows, groups, 1, generator=random) * 0.1).half().float()
    return (numbers * step + low).flatten(1)


def correlated(tokens: int, width: int, seed: int) -> Tensor:
    """(tokens, width): a dozen directions, the same for every seed, and a little noise."""
    basis = torch.randn(12, width, generator=torch.Generator().manual_seed(99))
    random = torch.Generator().manual_seed(seed)
    parts = torch.randn(tokens, 12, generator=random) * torch.linspace(1, 4, 12)
    return parts @ basis + 0.5 * torch.randn(tokens, width, generator=random)
