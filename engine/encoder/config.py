"""The encoder engine's own settings."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config import Precision


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Limits of one engine.

    `max_batch_tokens` and `max_running` bound the tokens and the texts of one step, `max_waiting` the queue;
    `max_model_len` is the longest text in tokens, None for all that the model takes.
    """

    precision: Precision = "bf16"
    device: str = "cpu"
    threads: int = 2
    max_model_len: int | None = None
    max_batch_tokens: int = 1024
    max_running: int = 256
    max_waiting: int = 1024
