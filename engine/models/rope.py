"""Rotary position tables with the scaling types in use.

RoPE: Su et al. 2021 (arXiv 2104.09864), with value i paired with i + width / 2 as Hugging Face orders weights. Linear
scaling: Chen et al. 2023 (2306.15595). YaRN: Peng et al. 2023 (2309.00071). LongRoPE: Ding et al. 2024 (2402.13753).
"llama3": Llama 3.1's release.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from engine.errors import CheckpointError
from engine.models.architecture import Rotary

Scaled = tuple[Tensor, float]  # inverse frequencies (width / 2,), factor on cos and sin


def rotary_tables(rotary: Rotary, length: int, freq_factors: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """cos and sin (length, width / 2) fp32 for positions 0 to length - 1.

    `freq_factors` (width / 2,) divide the frequencies; GGUF files of scaled models carry them.
    Raises CheckpointError for a scaling type that is not known, or one that lacks its parameters.
    """
    plain = rotary.theta ** -(torch.arange(0, rotary.width, 2, dtype=torch.float64) / rotary.width)
    kind = str(rotary.scaling.get("rope_type") or rotary.scaling.get("type") or "default")
    if kind not in SCALINGS:
        known = ", ".join(sorted(SCALINGS))
        raise CheckpointError(f"config.json: rope type {kind!r} is not supported; known are {known}")
    try:
        inverse, factor = SCALINGS[kind](plain, rotary, length)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"config.json: rope type {kind!r} has wrong or missing parameters ({error!r})") from None
    if freq_factors is not None:
        inverse = inverse / freq_factors.double()
    angles = torch.outer(torch.arange(length, dtype=torch.float64), inverse)
    return (angles.cos() * factor).float(), (angles.sin() * factor).float()


def unscaled(plain: Tensor, rotary: Rotary, length: int) -> Scaled:
    return plain, 1.0


def linear(plain: Tensor, rotary: Rotary, length: int) -> Scaled:
    return plain / float(rotary.scaling["factor"]), 1.0


def dynamic(plain: Tensor, rotary: Rotary, length: int) -> Scaled:
    """NTK-aware scaling whose base grows with the sequence. Cached keys cannot follow, so one base serves all: that
    of the longest sequence served. Up to the original length it is no scaling, as the definition has it."""
    original, factor = rotary.original_positions, float(rotary.scaling["factor"])
    if length <= original:
        return plain, 1.0
    stretch = factor * length / original - (factor - 1)
    theta = rotary.theta * stretch ** (rotary.width / (rotary.width - 2))
    return theta ** -(torch.arange(0, rotary.width, 2, dtype=torch.float64) / rotary.width), 1.0


def llama3(plain: Tensor, rotary: Rotary, length: int) -> Scaled:
    """Long wavelengths are stretched, short ones kept, those between blended."""
    scaling = rotary.scaling
    factor, low, high = (float(scaling[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = float(scaling["original_max_position_embeddings"])
    turns = original * plain / (2 * math.pi)  # full turns within the original context
    blend = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (blend + (1 - blend) / factor), 1.0


def yarn(plain: Tensor, rotary: Rotary, length: int) -> Scaled:
    """Frequencies that turn often within the original context are kept, slow ones interpolated, with a ramp between."""
    scaling: Mapping[str, Any] = rotary.scaling
    factor = float(scaling["factor"])
    original = float(scaling.get("original_max_position_embeddings") or rotary.original_positions)

    def dimension(turns: float) -> float:
        return rotary.width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rotary.theta))

    low, high = dimension(float(scaling.get("beta_fast") or 32)), dimension(float(scaling.get("beta_slow") or 1))
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotary.width - 1)
    ramp = ((torch.arange(len(plain), dtype=torch.float64) - low) / max(high - low, 0.001)).clamp(0, 1)

    def attention_scale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    given, scale, all_dims = (scaling.get(key) for key in ("attention_factor", "mscale", "mscale_all_dim"))
    if given is not None:
        attention = float(given)
    elif scale and all_dims:
        attention = attention_scale(float(scale)) / attention_scale(float(all_dims))
    else:
        attention = attention_scale(1.0)
    return plain * (1 - ramp) + plain / factor * ramp, attention


def longrope(plain: Tensor, rotary: Rotary, length: int) -> Scaled:
    """One factor a frequency, from the short or the long list, by the longest sequence served."""
    scaling = rotary.scaling
    original = float(scaling["original_max_position_embeddings"])
    factors = torch.tensor(scaling["long_factor" if length > original else "short_factor"], dtype=torch.float64)
    if len(factors) != len(plain):
        raise ValueError(f"{len(factors)} factors for {len(plain)} frequencies")
    stretch = float(scaling.get("factor") or rotary.original_positions / original)
    given = scaling.get("attention_factor")
    if given is None:
        given = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
    return plain / factors, float(given)


SCALINGS: dict[str, Callable[[Tensor, Rotary, int], Scaled]] = {
    "default": unscaled,
    "linear": linear,
    "dynamic": dynamic,
    "llama3": llama3,
    "yarn": yarn,
    "longrope": longrope,
}
