"""`POST /translate` and `GET /languages`, as LibreTranslate has them."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic_core import to_json

from deployments.front_door.body import FORM, json_body
from deployments.front_door.openapi import takes
from deployments.front_door.plan import FrontDoor, arrive
from deployments.front_door.routed import routed, texts_demand
from deployments.front_door.schemas.inputs import Texts
from deployments.front_door.schemas.translate import TranslateBody
from deployments.front_door.service import Limits
from deployments.front_door.text_calls import json_answer
from deployments.front_door.translation.decoding import decoding_of
from deployments.front_door.translation.pairs import find_pair, languages, translators
from deployments.front_door.translation.run import Task, translate
from engine.errors import InvalidRequest

Body = Annotated[TranslateBody, Depends(json_body(TranslateBody, or_form=True))]


def router(door: FrontDoor) -> APIRouter:
    """The endpoints of translation."""
    routes = APIRouter(tags=["translation"])

    @routes.post("/translate", openapi_extra=takes(TranslateBody, FORM))
    async def translate_texts(request: Request, body: Body) -> Response:
        """Translate a text, or each text of a list."""
        arrival = arrive(request)
        texts: Texts = body.q
        _check_sizes(texts, door.service.limits)
        named, source = find_pair(door.service, request, body.model, body.source, body.target)
        task = Task(
            id=f"translate-{uuid.uuid4().hex}",
            texts=tuple(str(text) for text in texts.items),
            source=source,
            target=body.target,
            format=body.format,
            decoding=decoding_of(body, named.model.text.decoding_defaults, door.service.limits),
            priority=body.priority,
        )
        target = routed(door, named, request, body, texts_demand(task.texts, task.decoding.max_tokens))

        async def work() -> bytes:
            found = await translate(door, target, arrival, task)
            answer: dict[str, Any] = {"translatedText": [ranked[0] for ranked in found]}
            if body.alternatives:
                answer["alternatives"] = [ranked[1:] for ranked in found]
            if body.source == "auto":  # known without looking at the text, so nothing speaks for it but the pair
                answer["detectedLanguage"] = [{"confidence": 0.0, "language": source}] * len(found)
            if texts.single:
                answer = {name: values[0] for name, values in answer.items()}
            return to_json(answer)

        return await json_answer(request, target.headers, work())

    @routes.get("/languages")
    async def list_languages(request: Request) -> list[dict[str, Any]]:
        """Source languages, and what each can be translated to."""
        return languages(translators(door.service, request))

    @routes.post("/detect")
    async def detect() -> Response:
        """Refused: nothing here tells languages apart."""
        raise InvalidRequest("This server does not detect languages. Name the language in 'source' of /translate.")

    return routes


def _check_sizes(texts: Texts, limits: Limits) -> None:
    for what, count, limit in (
        ("texts", len(texts.items), limits.max_inputs),
        ("characters in all", sum(len(str(text)) for text in texts.items), limits.max_translation_characters),
    ):
        if count > limit:
            raise InvalidRequest(f"'q' has {count:,} {what}; the limit is {limit:,}. Send several requests.", param="q")
