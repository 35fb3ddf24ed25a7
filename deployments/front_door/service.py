"""What the front door is told about the world behind it: models, limits, and functions to call. No Ray in here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deployments.variants import VariantInfo
from engine.request import Delta, Request
from engine.text.tokenizer import Tokenizer

Generate = Callable[[str, Request], AsyncIterator[Delta]]
"""(variant, request) to deltas. Closing the iterator (`aclose`) aborts the request."""


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What applies where a caller says nothing. `top_k` 0, `top_p` 1 and `min_p` 0 are off."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


def sampling_defaults(generation_config: Mapping[str, Any]) -> SamplingDefaults:
    """Read a model's `generation_config.json`. Only what its authors wrote counts: transformers' own built-in
    defaults (`top_k` 50, no sampling) are not OpenAI's and would surprise callers of this API."""
    plain = SamplingDefaults()

    def value(key: str, fallback: float) -> float:
        found = generation_config.get(key)
        return fallback if found is None else float(found)

    return SamplingDefaults(
        temperature=value("temperature", plain.temperature),
        top_p=value("top_p", plain.top_p),
        top_k=max(0, int(value("top_k", plain.top_k))),
        min_p=value("min_p", plain.min_p),
        repetition_penalty=value("repetition_penalty", plain.repetition_penalty),
    )


@dataclass(frozen=True)
class ServedModel:
    """One model that the front door offers. `created` is in Unix seconds; `max_model_len` in tokens.

    `chat_template` None means that the model cannot chat (it can still complete).
    """

    name: str
    variants: tuple[VariantInfo, ...]
    tokenizer: Tokenizer
    max_model_len: int
    vocab_size: int
    generate: Generate
    chat_template: str | None = None
    eos_token_ids: tuple[int, ...] = ()
    defaults: SamplingDefaults = SamplingDefaults()
    created: int = 0
    task: str = "text-generation"

    @cached_property
    def longest_token(self) -> int:
        """Characters of the longest token in the vocabulary."""
        return max((len(text) for text in self.tokenizer.backend.get_vocab()), default=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for. Sizes of text are in characters, those of bodies in bytes."""

    max_body_bytes: int = 8 << 20
    max_n: int = 128
    max_sequences: int = 256  # prompts times n
    max_messages: int = 4096
    max_stop_strings: int = 64
    max_stop_characters: int = 2048  # of all stop strings together
    max_stop_token_ids: int = 1024
    max_logprobs: int = 20
    max_logit_bias: int = 1024
    max_schema_length: int = 64 << 10


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that `create_app` needs.

    `models` may be a live mapping: it is looked at anew by each request. `metrics_sources` gives the replicas' metrics
    in Prometheus' text format, `status` what `GET /status` prints. All three callables must be cheap and not raise for
    a replica that is down.
    """

    models: Mapping[str, ServedModel]
    ready: Callable[[], bool]
    metrics_sources: Callable[[], Awaitable[Sequence[str]]]
    status: Callable[[], Awaitable[Mapping[str, Any]]]
    version: str = "0.0.0"
    limits: Limits = field(default_factory=Limits)
