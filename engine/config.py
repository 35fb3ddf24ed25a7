"""The engine's own settings. Resolved once ("auto" becomes a number), never written back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from engine.quantization.weight import Scheme

Precision = Literal["fp32", "bf16", Scheme]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def needs_preparing(precision: Precision) -> bool:
    """Whether a model is quantized before it is served at this precision."""
    return precision not in ("fp32", "bf16")


def compute_dtype(precision: Precision) -> torch.dtype:
    """What everything but quantized products is computed in."""
    return torch.float32 if precision == "fp32" else torch.bfloat16


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits of one engine.

    `block_size` is in tokens; `kv_cache_bytes` is what the KV cache may take; `max_batch_tokens` bounds the tokens of
    one step (prefill chunks and decoding together), `max_running` the sequences of one step, `max_waiting` the queue.
    """

    precision: Precision = "bf16"
    device: str = "cpu"
    threads: int = 2
    block_size: int = 32
    kv_cache_bytes: int = 512 << 20
    max_model_len: int | None = None
    max_batch_tokens: int = 512
    max_running: int = 64
    max_waiting: int = 256
    prefix_cache: bool = True
