"""Which model translates from one language to another, and what can be translated at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import Request

from deployments.access.caller import caller_in
from deployments.front_door.plan import Named, find_model
from deployments.front_door.served_models import TranslationModel
from deployments.front_door.service import Service
from engine.errors import InvalidRequest
from engine.text.languages import language_name

SHOWN = 20
"""Languages or pairs that an error message lists at most."""


def translators(service: Service, request: Request) -> list[TranslationModel]:
    """The models that translate and that the caller may use, in the configuration's order."""
    models = caller_in(request.scope).models(service.models)
    return [model for model in models.values() if isinstance(model, TranslationModel)]


def find_pair(
    service: Service, request: Request, asked: str | None, source: str, target: str
) -> tuple[Named[TranslationModel], str]:
    """The model to use, and the source language, which is another one than `source` only for "auto".

    Without a name, it is the first model that has the pair. Raises `InvalidRequest`, which lists what is supported, or
    `ModelNotFound`.
    """
    if asked is None:
        models = translators(service, request)
    else:
        models = [find_model(service, request, asked, TranslationModel).model]
    if not models:
        raise InvalidRequest("No translation model is served here.", param="model")
    if source == "auto":
        source = _only_source(models, target)
    for model in models:
        if (source, target) in model.pairs:
            return find_model(service, request, asked or model.name, TranslationModel), source
    known = any(source in model.targets_of for model in models)
    pairs = [f"{one} -> {other}" for model in models for one, other in model.text.pairs]
    raise InvalidRequest(
        f"Translation from '{source[:40]}' to '{target[:40]}' is not supported. Supported: {_some(pairs)}.",
        param="target" if known else "source",
    )


def _only_source(models: Sequence[TranslationModel], target: str) -> str:
    sources = sorted({source for model in models for source in model.sources_of.get(target, ())})
    if len(sources) == 1:
        return sources[0]
    if not sources:
        targets = sorted({known for model in models for known in model.sources_of})
        raise InvalidRequest(
            f"Nothing is translated to '{target[:40]}' here. Target languages: {_some(targets)}.", param="target"
        )
    raise InvalidRequest(
        f"This server does not detect languages, and several can be translated to '{target[:40]}'. Say in 'source' "
        f"which one: {_some(sources)}.",
        param="source",
    )


def _some(names: Iterable[str]) -> str:
    listed = list(dict.fromkeys(names))
    more = f" and {len(listed) - SHOWN} more (see GET /languages)" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def languages(models: Sequence[TranslationModel]) -> list[dict[str, Any]]:
    """LibreTranslate's list: source languages with what they can be translated to."""
    targets: dict[str, dict[str, None]] = {}
    for model in models:
        for source, reached in model.targets_of.items():
            targets.setdefault(source, {}).update(dict.fromkeys(reached))
    return [
        {"code": source, "name": language_name(source), "targets": sorted(reached)}
        for source, reached in sorted(targets.items())
    ]
