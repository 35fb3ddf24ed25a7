"""Which precision pays where."""

from __future__ import annotations

import torch

from cluster.training.recipe import Precision


def fastest_precision() -> Precision:
    """bf16 where this machine multiplies it faster than fp32: GPUs since Ampere, CPUs with AMX or AVX-512 BF16."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    cpu = torch.backends.cpu.get_cpu_capability()
    has_units = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if cpu.startswith("AVX512") and has_units else "fp32"
