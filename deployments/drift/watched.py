"""Models whose answers are watched: the same models, but that a share of what they say is kept to be compared."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from deployments.drift import compare
from deployments.drift.compare import Comparison
from deployments.drift.metrics import DriftMetrics
from deployments.drift.watch import LIMIT_S, DriftWatch, Job
from deployments.front_door.scores import activated
from deployments.front_door.served_models import (
    ClassificationModel,
    EmbeddingModel,
    Encode,
    Generate,
    GenerationModel,
    ServedModel,
    Translate,
    TranslationModel,
)
from engine.encoder.request import Encoded, EncodeRequest
from engine.errors import EngineFailed
from engine.request import Delta, FinishReason, Request, SamplingParams, TokenLogprobs
from engine.seq2seq.request import Translated, TranslateRequest

LAST = 1_000_000  # the priority of what nobody waits for
MOST_TOKENS = 4096  # of a prompt with its answer; longer ones are not compared
MOST_TEXTS = 8  # of one call

_ids = itertools.count()

T = TypeVar("T", EncodeRequest, TranslateRequest)
M = TypeVar("M", bound=ServedModel)


def watched(
    model: ServedModel, share: float, metrics: DriftMetrics, watch: Callable[..., DriftWatch] = DriftWatch
) -> ServedModel:
    """The model with a share of its answers under watch. With `share` 0, or a single variant, it is the model itself.

    Wrap it before anybody has its router: the wrapped one has its own.
    """
    if share <= 0 or len(model.variants) < 2:
        return model
    match model:
        case GenerationModel():
            generation = Generation(model.generate)
            shown: ServedModel = replace(model, generate=generation)
            generation.watch = watch(shown.router, share, metrics)
        case ClassificationModel() | EmbeddingModel():
            encoding = Encoding(model.encode, _distance(model))
            shown = replace(model, encode=encoding)
            encoding.watch = watch(shown.router, share, metrics)
        case TranslationModel():
            translation = Translation(model.translate)
            shown = replace(model, translate=translation)
            translation.watch = watch(shown.router, share, metrics)
        case _:
            raise AssertionError(f"{type(model).__name__} has no answers to compare")
    return shown


class Generation:
    """A `Generate`. Of a sampled answer, the variant tells its likeliest tokens beside the chosen ones (which costs it
    little), and the reference is asked how likely it holds these very tokens: one reading of prompt and answer."""

    watch: DriftWatch

    def __init__(self, generate: Generate) -> None:
        self.generate = generate

    def __call__(self, variant: str, request: Request) -> AsyncIterator[Delta]:
        if _plain(request) and self.watch.wants(variant):
            return self._noted(variant, request)
        return self.generate(variant, request)

    async def _noted(self, variant: str, request: Request) -> AsyncIterator[Delta]:
        asked = request.sampling.logprobs
        noting = replace(request, sampling=replace(request.sampling, logprobs=asked or 1))
        said: list[TokenLogprobs] = []
        async with aclosing(self.generate(variant, noting)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                said += delta.logprobs
                # What comes after a finished delta nobody may wait for.
                ended = delta.finish_reason in (FinishReason.STOP, FinishReason.LENGTH)
                if ended and said and len(request.prompt) + len(said) <= MOST_TOKENS:
                    self.watch.take(Job(variant, partial(self.ask, request.prompt, tuple(said))))
                yield delta if asked is not None else replace(delta, logprobs=())

    async def ask(self, prompt: tuple[int, ...], said: Sequence[TokenLogprobs], reference: str) -> Comparison:
        """What the reference holds of an answer. Raises what it raises."""
        whole = (*prompt, *(one.token for one in said))
        reading = SamplingParams(max_tokens=0, temperature=0.0, prompt_logprobs=1)
        now = time.time()
        request = Request(f"drift-{next(_ids)}", whole, reading, priority=LAST, arrival_s=now, deadline_s=now + LIMIT_S)
        told: list[TokenLogprobs | None] = []
        async with aclosing(self.generate(reference, request)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                if delta.error is not None:
                    raise delta.error
                told += delta.prompt_logprobs
        if len(told) != len(whole):
            raise EngineFailed(f"the reference told of {len(told)} tokens, of {len(whole)}")
        return compare.tokens(said, told[len(prompt) :])


class Encoding:
    """An `Encode`."""

    watch: DriftWatch

    def __init__(self, encode: Encode, distance: Callable[[Encoded, Encoded], Comparison]) -> None:
        self.encode, self.distance = encode, distance

    async def __call__(self, variant: str, requests: tuple[EncodeRequest, ...]) -> Sequence[Encoded]:
        results = await self.encode(variant, requests)
        if self.watch.wants(variant):
            self.watch.take(Job(variant, partial(self.ask, requests[:MOST_TEXTS], tuple(results[:MOST_TEXTS]))))
        return results

    async def ask(self, requests: tuple[EncodeRequest, ...], said: Sequence[Encoded], reference: str) -> Comparison:
        """What the reference says to the same texts. Raises what it raises."""
        theirs = await self.encode(reference, _again(requests))
        pairs = [(a, b) for a, b in zip(said, theirs, strict=True) if a.values is not None and b.values is not None]
        return sum((self.distance(a, b) for a, b in pairs), Comparison())


class Translation:
    """A `Translate`."""

    watch: DriftWatch

    def __init__(self, translate: Translate) -> None:
        self.translate = translate

    async def __call__(self, variant: str, requests: tuple[TranslateRequest, ...]) -> Sequence[Translated]:
        results = await self.translate(variant, requests)
        drawn = any(request.decoding.temperature for request in requests)  # by chance: they would differ in any case
        if not drawn and self.watch.wants(variant):
            self.watch.take(Job(variant, partial(self.ask, requests[:MOST_TEXTS], tuple(results[:MOST_TEXTS]))))
        return results

    async def ask(
        self, requests: tuple[TranslateRequest, ...], said: Sequence[Translated], reference: str
    ) -> Comparison:
        """What the reference makes of the same sentences. Raises what it raises."""
        theirs = await self.translate(reference, _again(requests))
        pairs = [(a, b) for a, b in zip(said, theirs, strict=True) if a.hypotheses and b.hypotheses]
        return sum((compare.sentence(a.hypotheses[0], b.hypotheses[0]) for a, b in pairs), Comparison())


def _plain(request: Request) -> bool:
    """Whether the log-probabilities that are told are the model's own, and there is an answer to compare."""
    sampling = request.sampling
    return (
        sampling.max_tokens > 0
        and sampling.logprobs != 0  # which asks for the chosen tokens alone
        and sampling.grammar is None
        and not sampling.logit_bias
        and sampling.repetition_penalty == 1.0
        and sampling.presence_penalty == sampling.frequency_penalty == 0.0
        and sampling.min_tokens == 0
        and len(request.prompt) < MOST_TOKENS
    )


def _again(requests: tuple[T, ...]) -> tuple[T, ...]:
    """The same requests, behind all others."""
    now, number = time.time(), next(_ids)
    return tuple(
        replace(one, id=f"drift-{number}-{i}", priority=LAST, arrival_s=now, deadline_s=now + LIMIT_S)
        for i, one in enumerate(requests)
    )


def _distance(model: ClassificationModel | EmbeddingModel) -> Callable[[Encoded, Encoded], Comparison]:
    def distance(mine: Encoded, theirs: Encoded) -> Comparison:
        assert mine.values is not None
        assert theirs.values is not None
        if isinstance(model, ClassificationModel):
            return compare.probabilities(activated(model, mine.values), activated(model, theirs.values))
        return compare.vectors(mine.values.astype(np.float64), theirs.values.astype(np.float64))

    return distance
