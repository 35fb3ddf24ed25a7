"""The encoder-decoder engine's own settings."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config import Precision


@dataclass(frozen=True, slots=True)
class Seq2SeqConfig:
    """Limits of one engine.

    `cache_bytes` is what keys and values may take. `max_model_len` is the longest source and `max_new_tokens` the
    longest target in tokens, None for what the model takes. `max_batch_tokens` bounds the source tokens that one step
    encodes and the hypotheses that one step goes on with, `max_running` the sentences at work, `max_waiting` the queue.
    """

    precision: Precision = "bf16"
    device: str = "cpu"
    threads: int = 2
    cache_bytes: int = 256 << 20
    max_model_len: int | None = None
    max_new_tokens: int | None = None
    max_batch_tokens: int = 1024
    max_running: int = 64
    max_waiting: int = 512
