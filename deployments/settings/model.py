"""One model: what it is for, where it comes from, what is promised of it, and how much room it gets."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from deployments.routing.prediction import Objective
from deployments.settings.section import Section, Size, items, refuse_twice
from deployments.settings.variant import Variant
from engine.config import EngineConfig
from engine.encoder.config import EncoderConfig
from engine.seq2seq.config import Seq2SeqConfig

_PAIR = re.compile(r"[A-Za-z]{2,3}(_[A-Za-z]{2,8})*-[A-Za-z]{2,3}(_[A-Za-z]{2,8})*")


class Promise(Section):
    """A model's objective, in milliseconds: until the first token and for each one after it, or for a whole answer."""

    ttft_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    tpot_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    latency_ms: float | None = Field(None, gt=0, allow_inf_nan=False)


class Gate(Section):
    """The most that a variant may lose against fp32: a share of the perplexity, accuracy as a share of all texts,
    points of BLEU, and for embeddings the least mean cosine. What loses more is not served."""

    max_perplexity_increase: float = Field(0.05, ge=0)
    max_accuracy_drop: float = Field(0.005, ge=0)
    max_bleu_drop: float = Field(0.3, ge=0)
    min_cosine: float = Field(0.99, le=1)


Task = Literal["text-generation", "text-classification", "embedding", "translation"]

_GENERATING = frozenset({"text-generation"})
_DECODING = frozenset({"text-generation", "translation"})
_TRANSLATING = frozenset({"translation"})
# Keys that mean something for some tasks only.
_TASKS_OF_KEY: dict[str, frozenset[str]] = {
    "prefix_cache": _GENERATING,
    "kv_cache": _DECODING,
    "max_running": _DECODING,
    "languages": _TRANSLATING,
    "max_new_tokens": _TRANSLATING,
}
_TTFT_MS, _TPOT_MS, _LATENCY_MS = 500.0, 50.0, 200.0  # what is promised where the file says nothing
# What a task takes where the file says nothing: tokens of a step, and requests (texts, sentences) that wait.
_DEFAULTS: dict[str, dict[str, int]] = {
    "text-generation": {"max_batch_tokens": 512, "max_queue": 256, "kv_cache": 512 << 20},
    "text-classification": {"max_batch_tokens": 1024, "max_queue": 8192},
    "embedding": {"max_batch_tokens": 1024, "max_queue": 8192},
    "translation": {"max_batch_tokens": 1024, "max_queue": 4096, "kv_cache": 128 << 20},
}


class Model(Section):
    """One model. `kv_cache` is per replica; `max_queue` counts the requests that wait in a replica."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=100)
    task: Task = "text-generation"
    source: str = Field(min_length=1)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    changes: str | None = Field(None, min_length=1)
    languages: Annotated[tuple[str, ...], BeforeValidator(items)] | None = None
    variants: Annotated[tuple[Variant, ...], BeforeValidator(items)] = (Variant(precision="bf16"),)
    gate: Gate = Gate()
    kv_cache: Size = Field(0, ge=1 << 20)
    max_model_len: int | None = Field(None, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)
    max_batch_tokens: int = Field(512, ge=1)
    max_running: int = Field(64, ge=1)
    max_queue: int = Field(256, ge=1)
    prefix_cache: bool = True
    objective: Promise = Promise()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {**_DEFAULTS.get(str(data.get("task", "text-generation")), _DEFAULTS["text-generation"]), **data}

    @model_validator(mode="after")
    def _keys_fit_the_task(self) -> Self:
        for key, tasks in _TASKS_OF_KEY.items():
            if key in self.model_fields_set and self.task not in tasks:
                raise ValueError(f"'{key}' means nothing for the task {self.task}; leave it out")
        return self

    @model_validator(mode="after")
    def _objective_fits_the_task(self) -> Self:
        known = {"ttft_ms", "tpot_ms"} if self.task in _GENERATING else {"latency_ms"}
        for key in sorted(self.objective.model_fields_set - known):
            raise ValueError(
                f"'objective.{key}' means nothing for the task {self.task}; known there: {', '.join(sorted(known))}"
            )
        return self

    @model_validator(mode="after")
    def _variants_differ(self) -> Self:
        refuse_twice("precision", [variant.name for variant in self.variants])
        return self

    @model_validator(mode="after")
    def _one_is_awake(self) -> Self:
        if not any(variant.replicas.min for variant in self.variants):
            raise ValueError("every variant has replicas.min 0; one must always run, to answer while others start")
        return self

    @model_validator(mode="after")
    def _languages_are_pairs(self) -> Self:
        for pair in self.languages or ():
            if not _PAIR.fullmatch(pair):
                raise ValueError(f"'{pair}' is not a pair of languages; write two codes, as in en-de")
        return self

    @property
    def pairs(self) -> tuple[tuple[str, str], ...] | None:
        """`languages` taken apart: (source, target)."""
        if self.languages is None:
            return None
        return tuple((source, target) for source, _, target in (pair.partition("-") for pair in self.languages))

    @property
    def promised(self) -> Objective:
        """`objective`, with what is left open filled in."""
        asked = self.objective
        if self.task in _GENERATING:
            return Objective((asked.ttft_ms or _TTFT_MS) / 1000, (asked.tpot_ms or _TPOT_MS) / 1000)
        return Objective((asked.latency_ms or _LATENCY_MS) / 1000)

    def with_cores(self, left: int) -> Model:
        """A copy in which the replicas of a variant that leaves `cores` open, or their stages, share those that are
        `left`."""
        variants = tuple(
            variant.model_copy(update={"cores": variant.cores or max(1, left // variant.most_processes)})
            for variant in self.variants
        )
        return self.model_copy(update={"variants": variants})

    def engine_config(self, variant: Variant, *, cores: int) -> EngineConfig:
        """The settings of one replica's engine, for text generation."""
        return EngineConfig(
            precision=variant.precision,
            device=variant.stages.device,
            threads=cores,
            kv_cache_bytes=self.kv_cache,
            max_model_len=self.max_model_len,
            max_batch_tokens=self.max_batch_tokens,
            max_running=self.max_running,
            max_waiting=self.max_queue,
            prefix_cache=self.prefix_cache,
        )

    def encoder_config(self, variant: Variant, *, cores: int) -> EncoderConfig:
        """The same for classification and embeddings."""
        return EncoderConfig(
            precision=variant.precision,
            device=variant.stages.device,
            threads=cores,
            max_model_len=self.max_model_len,
            max_batch_tokens=self.max_batch_tokens,
            max_waiting=self.max_queue,
        )

    def seq2seq_config(self, variant: Variant, *, cores: int) -> Seq2SeqConfig:
        """The same for translation."""
        return Seq2SeqConfig(
            precision=variant.precision,
            device=variant.stages.device,
            threads=cores,
            cache_bytes=self.kv_cache,
            max_model_len=self.max_model_len,
            max_new_tokens=self.max_new_tokens,
            max_batch_tokens=self.max_batch_tokens,
            max_running=self.max_running,
            max_waiting=self.max_queue,
        )
