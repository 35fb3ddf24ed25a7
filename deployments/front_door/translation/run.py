"""Translates the texts of one request: apart into sentences, through the engine in one call, together again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from deployments.front_door.deadline import in_time
from deployments.front_door.plan import Arrival, FrontDoor, Target
from deployments.front_door.sampling import derive_seed
from deployments.front_door.served_models import TranslationModel
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
        sentences = Sentences(model.model, task.source, task.target, door.service.limits.max_sentences)
        documents = await _run(large, lambda: _apart(sentences, task))
        results = await _translated(door, model, arrival, task, sentences) if sentences.encoded else ()
        return await _run(large, lambda: _together(model.model, documents, results, task.decoding.hypotheses))


async def _run(in_thread: bool, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if in_thread else work()


def _apart(sentences: Sentences, task: Task) -> list[Document]:
    return [sentences.html(text) if task.format == "html" else sentences.text(text) for text in task.texts]


async def _translated(
    door: FrontDoor, model: Target[TranslationModel], arrival: Arrival, task: Task, sentences: Sentences
) -> tuple[Translated, ...]:
    requests = tuple(
        TranslateRequest(
            id=f"{task.id}-{index}",
            source=tokens,
            decoding=replace(
                task.decoding,
                # The same sentence twice shall not draw the same words twice.
                seed=derive_seed(task.decoding.seed, index) if task.decoding.temperature else 0,
                first_token=task.decoding.first_token if first_token is None else first_token,
            ),
            priority=task.priority,
            arrival_s=arrival.wall_s,
            deadline_s=arrival.deadline_s,
        )
        for index, (tokens, first_token) in enumerate(sentences.encoded)
    )
    sizes = [len(request.source) for request in requests]

    def ending(result: Translated) -> Literal["stop", "length"]:
        # Of those that ended by themselves, the end token was one of the tokens allowed.
        return "length" if _best_length(result) >= task.decoding.max_tokens else "stop"

    call = model.model.translate(model.variant, requests)
    results = await run_texts(model, arrival, door.metrics, sizes, call, ending)
    written = door.metrics.generated(model.model.name, model.variant)
    for result in results:
        if not result.hypotheses:
            raise EngineFailed("The engine ended a sentence without translating it. Try again.")
        written.generation_size.observe(_best_length(result))
        written.generation_tokens.inc(sum(len(hypothesis.tokens) for hypothesis in result.hypotheses))
    return results


def _best_length(result: Translated) -> int:
    return len(result.hypotheses[0].tokens) if result.hypotheses else 0


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
