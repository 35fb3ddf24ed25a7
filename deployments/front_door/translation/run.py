"""Translates the texts of one request: apart into sentences, all of them through the engine, together again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from deployments.front_door.deadline import in_time
from deployments.front_door.plan import Arrival, FrontDoor, Target
from deployments.front_door.sampling import derive_seed
from deployments.front_door.served_models import TranslationModel
from deployments.front_door.service import Limits
from deployments.front_door.text_calls import run_texts
from deployments.front_door.translation.documents import Document, Sentences, put_together
from engine.errors import EngineFailed
from engine.seq2seq.request import Decoding, Translated, TranslateRequest

T = TypeVar("T")

LARGE_TEXT = 2 << 10
"""Texts of more characters are taken apart and put together in threads, so that other requests go on meanwhile."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to translate, and how. `source` and `target` are a pair that the model has."""

    id: str
    texts: tuple[str, ...]
    source: str
    target: str
    format: Literal["text", "html"]
    decoding: Decoding
    priority: int


async def translate(door: FrontDoor, model: Target[TranslationModel], arrival: Arrival, task: Task) -> list[list[str]]:
    """For each text its translations, best first: as many as hypotheses were asked for, as far as they differ.

    Raises `InvalidRequest`, `DeadlineExceeded` and what the engine raises.
    """
    large = sum(map(len, task.texts)) > LARGE_TEXT
    async with in_time(model, arrival, door.metrics):
        documents, requests = await _run(large, lambda: _apart(model.model, arrival, task, door.service.limits))
        results = await _translated(door, model, arrival, requests) if requests else ()
        return await _run(large, lambda: _together(model.model, documents, results, task.decoding.hypotheses))


async def _run(in_thread: bool, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if in_thread else work()


def _apart(
    model: TranslationModel, arrival: Arrival, task: Task, limits: Limits
) -> tuple[list[Document], tuple[TranslateRequest, ...]]:
    sentences = Sentences(model, task.source, task.target, limits.max_sentences)
    documents = [sentences.html(text) if task.format == "html" else sentences.text(text) for text in task.texts]
    requests = tuple(
        TranslateRequest(
            id=f"{task.id}-{index}",
            source=tokens,
            decoding=_decoding(task.decoding, index, first_token),
            priority=task.priority,
            arrival_s=arrival.wall_s,
            deadline_s=arrival.deadline_s,
        )
        for index, (tokens, first_token) in enumerate(sentences.encoded)
    )
    return documents, requests


def _decoding(shared: Decoding, index: int, first_token: int | None) -> Decoding:
    if shared.temperature:  # the same sentence twice shall not draw the same words twice
        shared = replace(shared, seed=derive_seed(shared.seed, index))
    return shared if first_token is None else replace(shared, first_token=first_token)


async def _translated(
    door: FrontDoor, model: Target[TranslationModel], arrival: Arrival, requests: tuple[TranslateRequest, ...]
) -> tuple[Translated, ...]:
    async def call(variant: str, group: tuple[TranslateRequest, ...]) -> Sequence[Translated]:
        results = await model.model.translate(variant, group)
        if any(result.error is None and not result.hypotheses for result in results):
            raise EngineFailed("The engine ended a sentence without translating it. Try again.")
        if all(result.error is None for result in results):  # now: the caller may leave before the last group's end
            model.caller.wrote(sum(len(one.tokens) for result in results for one in result.hypotheses))
        return results

    def ending(result: Translated) -> Literal["stop", "length"]:
        # Of one that ended by itself, the end token was among the tokens allowed.
        return "length" if len(result.hypotheses[0].tokens) >= requests[0].decoding.max_tokens else "stop"

    sizes = [len(request.source) for request in requests]
    results = await run_texts(model, arrival, door.metrics, requests, sizes, call, ending)
    written = door.metrics.generated(model.model.name, model.variant)
    for result in results:
        tokens = sum(len(hypothesis.tokens) for hypothesis in result.hypotheses)
        written.generation_size.observe(len(result.hypotheses[0].tokens))
        written.generation_tokens.inc(tokens)
    return results


def _together(
    model: TranslationModel, documents: Sequence[Document], results: Sequence[Translated], count: int
) -> list[list[str]]:
    texts = [[model.text.decode(hypothesis.tokens) for hypothesis in result.hypotheses] for result in results]

    def ranked(rank: int) -> Callable[[int], str]:
        # A search may end with fewer hypotheses for one sentence than for others.
        return lambda index: texts[index][min(rank, len(texts[index]) - 1)]

    return [
        list(dict.fromkeys(put_together(document, ranked(rank)) for rank in range(count))) for document in documents
    ]
