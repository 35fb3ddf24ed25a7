"""The models that the front door offers: for each task what is known of a model, and the functions that run it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal, Protocol

from deployments.routing.prediction import Objective
from deployments.routing.router import Router
from deployments.variants import VariantInfo
from engine.encoder.request import Encoded, EncodeRequest
from engine.request import Delta, Request
from engine.seq2seq.request import Decoding, Translated, TranslateRequest
from engine.text.tokenizer import Tokenizer

Generate = Callable[[str, Request], AsyncIterator[Delta]]
"""(variant, request) to deltas. Closing the iterator (`aclose`) aborts the request."""

Encode = Callable[[str, tuple[EncodeRequest, ...]], Awaitable[Sequence[Encoded]]]
"""(variant, requests) to results in the same order; what went wrong with one is in its `error`. Raises StagelineErrors
that concern all requests; cancelling the task that awaits it aborts them."""

Translate = Callable[[str, tuple[TranslateRequest, ...]], Awaitable[Sequence[Translated]]]
"""The same for sentences."""

Problem = Literal["single", "multi", "regression"]
"""Exactly one label holds, any number of them may, or the values are no probabilities at all."""


TEXT_OBJECTIVE = Objective(0.2)
GENERATION_OBJECTIVE = Objective(0.5, 0.05)
"""What is promised where nothing is configured."""


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


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """What all models have. `created` is in Unix seconds; `max_model_len` in tokens, of the source for translation.

    `variants` are as they were when the model was offered; `router.variants` are as they are.
    """

    task: ClassVar[str]

    name: str
    variants: tuple[VariantInfo, ...]
    max_model_len: int
    created: int = 0
    objective: Objective = TEXT_OBJECTIVE

    @cached_property
    def router(self) -> Router:
        """Chooses among the variants, and remembers."""
        return Router(self.name, self.variants, self.objective)


@dataclass(frozen=True, kw_only=True)
class GenerationModel(ServedModel):
    """Continues texts. `chat_template` None means that the model cannot chat (it can still complete)."""

    task: ClassVar[str] = "text-generation"

    tokenizer: Tokenizer
    vocab_size: int
    generate: Generate
    chat_template: str | None = None
    eos_token_ids: tuple[int, ...] = ()
    defaults: SamplingDefaults = SamplingDefaults()
    objective: Objective = GENERATION_OBJECTIVE


@dataclass(frozen=True, kw_only=True)
class ClassificationModel(ServedModel):
    """`encode` gives raw scores, in the order of `labels`."""

    task: ClassVar[str] = "text-classification"

    tokenizer: Tokenizer
    vocab_size: int
    encode: Encode
    labels: tuple[str, ...]
    problem: Problem = "single"


@dataclass(frozen=True, kw_only=True)
class EmbeddingModel(ServedModel):
    """`encode` gives `dimension` values, of length 1 where the model's own configuration has them `normalized`.

    `prompt` goes before every text, and with `lower_case` texts are lowered before they are cut into tokens.
    """

    task: ClassVar[str] = "embedding"

    tokenizer: Tokenizer
    vocab_size: int
    encode: Encode
    dimension: int
    normalized: bool = True
    prompt: str = ""
    lower_case: bool = False


EncoderModel = ClassificationModel | EmbeddingModel


@lru_cache(maxsize=64)
def longest_token(tokenizer: Tokenizer) -> int:
    """Characters of the longest token in the vocabulary."""
    return max((len(text) for text in tokenizer.backend.get_vocab()), default=1)


class TranslationText(Protocol):
    """A translation model's texts. Its methods are called from several threads."""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(source, target) language codes."""
        ...

    @property
    def max_source_tokens(self) -> int:
        """Of one sentence, special tokens included."""
        ...

    @property
    def decoding_defaults(self) -> Decoding:
        """How the model's authors would have it decode."""
        ...

    def encode(self, text: str, source: str, target: str) -> tuple[tuple[int, ...], int | None]:
        """The source tokens with their special tokens, and the first target token if one is forced."""
        ...

    def decode(self, tokens: tuple[int, ...]) -> str:
        """The text of a hypothesis."""
        ...


@dataclass(frozen=True, kw_only=True)
class TranslationModel(ServedModel):
    """Translates sentences."""

    task: ClassVar[str] = "translation"

    text: TranslationText
    translate: Translate

    @cached_property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """(source, target) language codes."""
        return frozenset(self.text.pairs)

    @cached_property
    def targets_of(self) -> Mapping[str, tuple[str, ...]]:
        """Source languages, and what each can be translated to."""
        found: dict[str, tuple[str, ...]] = {}
        for source, target in self.text.pairs:
            found[source] = (*found.get(source, ()), target)
        return found

    @cached_property
    def sources_of(self) -> Mapping[str, tuple[str, ...]]:
        """Target languages, and what can be translated to each."""
        found: dict[str, tuple[str, ...]] = {}
        for source, target in self.text.pairs:
            found[target] = (*found.get(target, ()), source)
        return found
