"""From a named model to the variant that answers: who asks, how much, and what the model's router makes of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

from fastapi import Request

from deployments.access.caller import Caller, caller_in
from deployments.front_door.plan import FrontDoor, M, Named, Target
from deployments.front_door.prompts import Prompt
from deployments.front_door.sampling import asked_tokens
from deployments.front_door.schemas.base import RoutedBody
from deployments.front_door.schemas.chat import ChatBody
from deployments.front_door.schemas.completions import CompletionBody
from deployments.front_door.schemas.inputs import Item, Pair
from deployments.front_door.served_models import GenerationModel
from deployments.front_door.trail.record import record_of
from deployments.routing.prediction import Demand
from deployments.routing.router import Ask
from deployments.routing.situation import Situation
from engine.errors import CallerOverShare, Overloaded, RateLimited

TOKEN_CHARACTERS = 4
"""Of a token, about. Texts are cut into tokens after their variant was chosen; for the choice this is near enough."""

SENTENCE_CHARACTERS = 120


def routed(door: FrontDoor, named: Named[M], request: Request, body: RoutedBody, demand: Demand) -> Target[M]:
    """Choose the variant and count the request as sent to it. Raises `InvalidRequest` and `Overloaded`."""
    name, router, caller = named.model.name, named.model.router, caller_in(request.scope)
    ask = Ask(
        demand,
        named.pinned,
        body.min_quality,
        body.variant_policy or "best",
        caller_of(request, caller),
        caller.weight,
        caller.only(name, router.variants),
    )
    record = record_of(request.scope)
    record.model, record.task = name, named.model.task

    def note(situation: Situation) -> None:
        record.situation = situation

    record.choosing = time.perf_counter()
    try:
        if caller.has_token_limit:
            caller.reserve(router.expected_tokens(demand))
        decision, ticket = router.choose(ask, note)
    except Overloaded as error:
        door.metrics.rejected(name, named.pinned or "", why_refused(error))
        raise
    finally:
        record.chosen = time.perf_counter()
    record.decision = decision
    door.metrics.decided(name, decision.variant, decision.reason)
    return Target(named.model, decision.variant, named.asked, ticket, caller)


def why_refused(error: Overloaded) -> str:
    """As the metrics name it."""
    if isinstance(error, RateLimited):
        return error.limit
    return "fairness" if isinstance(error, CallerOverShare) else "overloaded"


def caller_of(request: Request, caller: Caller) -> str:
    """Who asks: the key's name; on a server without keys the bearer token, as a digest, or else the address."""
    if caller.name is not None:
        return caller.name
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return hashlib.blake2b(token.strip().encode(), digest_size=12).hexdigest()
    return request.client.host if request.client is not None else ""


def generation_demand(body: CompletionBody | ChatBody, model: GenerationModel, prompts: list[Prompt]) -> Demand:
    """Of prompts that are each answered `n` times."""
    tokens = sum(len(prompt.tokens) for prompt in prompts)
    room = max(0, model.max_model_len - max(len(prompt.tokens) for prompt in prompts))
    asked = asked_tokens(body)
    return Demand(tokens * body.n, room if asked is None else min(room, asked), len(prompts) * body.n)


def items_demand(items: Iterable[Item], cut_to: int | None) -> Demand:
    """Of texts that are read only."""
    sizes = [min(_size(item), cut_to or _size(item)) for item in items]
    return Demand(sum(sizes), count=max(1, len(sizes)))


def texts_demand(texts: Iterable[str], most_tokens: int) -> Demand:
    """Of texts that are taken apart into sentences, each of which has an answer."""
    lengths = [len(text) for text in texts]
    sentences = sum(max(1, round(length / SENTENCE_CHARACTERS)) for length in lengths)
    return Demand(sum(lengths) // TOKEN_CHARACTERS + sentences, most_tokens, max(1, sentences))


def _size(item: Item) -> int:
    if isinstance(item, str):
        return len(item) // TOKEN_CHARACTERS + 2
    if isinstance(item, Pair):
        return (len(item.first) + len(item.second)) // TOKEN_CHARACTERS + 3
    return len(item)
