"""What one HTTP request comes down to: a model, a variant, and one engine request for each answer."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from fastapi import Request as HttpRequest

from deployments.access.account import Accounts
from deployments.access.caller import ANYBODY, Caller, caller_in
from deployments.front_door.body import deadline_seconds
from deployments.front_door.metrics import Metrics
from deployments.front_door.prompts import Prompt
from deployments.front_door.sampling import asked_tokens, derive_seed, draw_seed
from deployments.front_door.schemas.chat import ChatBody
from deployments.front_door.schemas.completions import CompletionBody
from deployments.front_door.schemas.generation import GenerationBody
from deployments.front_door.served_models import GenerationModel, ServedModel
from deployments.front_door.service import Service
from deployments.front_door.text_state import TextOptions
from deployments.front_door.trail.record import record_of
from deployments.front_door.trail.ring import Ring
from deployments.routing.open_requests import Ticket
from deployments.variants import find_variant, split_model_name
from engine.errors import InvalidRequest, ModelNotFound
from engine.request import Request, SamplingParams


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """What every endpoint is given."""

    service: Service
    metrics: Metrics
    accounts: Accounts = field(default_factory=Accounts)
    ring: Ring = field(default_factory=Ring)


M = TypeVar("M", bound=ServedModel)

ENDPOINTS: Mapping[str, str] = {
    "text-generation": "/v1/completions or /v1/chat/completions",
    "text-classification": "/classify or /predict",
    "embedding": "/v1/embeddings",
    "translation": "/translate",
}
"""Where to ask for each task."""


@dataclass(frozen=True, slots=True)
class Named(Generic[M]):
    """The model that was asked for, by the name `asked`, and the variant if that pins one."""

    model: M
    pinned: str | None
    asked: str


@dataclass(frozen=True, slots=True)
class Target(Generic[M]):
    """The model and variant that answer, and `asked`: the name to show in the answer. `ticket` is closed at the end;
    `caller` is told what is used."""

    model: M
    variant: str
    asked: str
    ticket: Ticket
    caller: Caller = ANYBODY

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Stageline-Variant": self.variant}


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a request came (`started` by `time.perf_counter`, `wall_s` by `time.time`), and by when the event loop's
    clock (`deadline_at`) and the wall clock (`deadline_s`) it must be answered."""

    started: float
    wall_s: float
    deadline_at: float | None
    deadline_s: float | None


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to compute. `prompt_index` tells which prompt it belongs to, `prompt_only` that nothing of what the
    engine generates is wanted."""

    index: int
    prompt_index: int
    prompt: Prompt
    request: Request
    options: TextOptions
    prompt_only: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything needed to answer. `created` is in Unix seconds."""

    id: str
    created: int
    target: Target[GenerationModel]
    arrival: Arrival
    jobs: tuple[Job, ...]


def arrive(request: HttpRequest) -> Arrival:
    """Note the time, and the deadline if the caller set one. Raises `InvalidRequest`."""
    now, started = time.time(), time.perf_counter()
    record_of(request.scope).read = started
    seconds = deadline_seconds(request)
    return Arrival(
        started=started,
        wall_s=now,
        deadline_at=None if seconds is None else asyncio.get_running_loop().time() + seconds,
        deadline_s=None if seconds is None else now + seconds,
    )


def find_model(service: Service, request: HttpRequest, asked: str | None, kind: type[M]) -> Named[M]:
    """Resolve a request's `model` to one of a kind; it may be left out where only one is of that kind. What its caller
    may not use is as if it were not there. Raises `ModelNotFound` or `InvalidRequest`."""
    caller = caller_in(request.scope)
    models = caller.models(service.models)
    if asked is None:
        able = [name for name, model in models.items() if isinstance(model, kind)]
        if len(able) != 1:
            known = ", ".join(sorted(able)) or "none"
            raise InvalidRequest(f"Say in 'model' which one to use. Models for {kind.task}: {known}.", param="model")
        asked = able[0]
    name, pinned = split_model_name(asked, models)
    model = models.get(name)
    if model is None:  # withdrawn this very moment
        raise ModelNotFound(f"The model '{name}' is no longer served.", param="model")
    if not isinstance(model, kind):
        raise InvalidRequest(
            f"The model '{name}' is for {model.task}, not for {kind.task}. Ask it at {ENDPOINTS[model.task]}.",
            param="model",
        )
    if pinned is not None:
        find_variant(name, caller.variants(name, model.variants), pinned)
    return Named(model, pinned, asked)


def plan_jobs(
    body: CompletionBody | ChatBody,
    target: Target[GenerationModel],
    arrival: Arrival,
    shared: SamplingParams,
    prompts: list[Prompt],
) -> Plan:
    """Make the engine's requests: for each prompt, `n` with seeds derived from the first one's. `shared` is what
    `base_sampling` made of the body."""
    kind = "chatcmpl" if isinstance(body, ChatBody) else "cmpl"
    plan_id = f"{kind}-{uuid.uuid4().hex}"
    asked = asked_tokens(body)
    echo = isinstance(body, CompletionBody) and body.echo
    options = TextOptions(
        stops=body.stop,
        include_stop=body.include_stop_str_in_output,
        min_tokens=body.min_tokens,
        skip_special_tokens=body.skip_special_tokens,
        logprobs=shared.logprobs is not None,
        echo=echo,
    )
    jobs = []
    for prompt_index, prompt in enumerate(prompts):
        room = target.model.max_model_len - len(prompt.tokens)
        max_tokens = room if asked is None else min(room, asked)
        seed = draw_seed(body.seed)
        for choice in range(body.n):
            index = prompt_index * body.n + choice
            sampling = replace(
                shared,
                max_tokens=max_tokens,
                min_tokens=min(shared.min_tokens, max_tokens),
                seed=derive_seed(seed, choice),
            )
            jobs.append(
                Job(
                    index=index,
                    prompt_index=prompt_index,
                    prompt=prompt,
                    request=_engine_request(f"{plan_id}-{index}", prompt, sampling, body, arrival),
                    options=options,
                    prompt_only=max_tokens == 0,
                )
            )
    return Plan(plan_id, int(arrival.wall_s), target, arrival, tuple(jobs))


def _engine_request(
    name: str, prompt: Prompt, sampling: SamplingParams, body: GenerationBody, arrival: Arrival
) -> Request:
    return Request(
        id=name,
        prompt=prompt.tokens,
        sampling=sampling,
        priority=body.priority,
        arrival_s=arrival.wall_s,
        deadline_s=arrival.deadline_s,
    )
