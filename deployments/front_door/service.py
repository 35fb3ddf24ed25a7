"""What the front door is told about the world behind it: models, limits, and functions to call. No Ray in here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployments.access.ring import KeyFile
from deployments.front_door.served_models import ServedModel
from deployments.front_door.trail.asking import Elsewhere, nobody
from deployments.front_door.trail.record import Tracer
from deployments.front_door.trail.stages import StagesAsked, no_stages
from deployments.profiles.ask import ProfileAsk


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
    max_inputs: int = 2048  # texts to classify, embed or translate
    max_input_characters: int = 4 << 20  # of all texts to classify or embed together
    max_translation_characters: int = 256 << 10  # of all texts to translate together
    max_sentences: int = 4096  # of all texts to translate together
    max_beams: int = 16  # also bounds the alternatives


async def at_once() -> None:
    """There is nothing to wait for."""


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that `create_app` needs.

    `models` may be a live mapping: it is looked at anew by each request. `metrics_sources` gives the metrics of all
    others, replicas and front doors, in Prometheus' text format, `status` what `GET /status` prints. All three
    callables must be cheap and not raise for a replica that is down. `metrics_labels` tell this front door's own
    metrics from other front doors'. `start` is awaited before the first request is taken. A request that takes longer
    than `slow_s` seconds is a slow one; where that is None, one that misses its model's objective. `log_texts` has what
    is asked and answered logged. `trails_elsewhere` asks the other front doors for their requests' records. With
    `keys`, every request needs one of them; with `own_names`, it is to be sent to one of this machine's own names (see
    `SameOrigin`). `tracer` traces requests. `stages` asks a replica what its stages did.
    `profile` takes a profile of a replica (see `Profiles.profile`), `stacks` gives those of all processes by their
    names; None where there is nobody to ask.
    """

    models: Mapping[str, ServedModel]
    ready: Callable[[], bool]
    metrics_sources: Callable[[], Awaitable[Sequence[str]]]
    status: Callable[[], Awaitable[Mapping[str, Any]]]
    version: str = "0.0.0"
    limits: Limits = field(default_factory=Limits)
    metrics_labels: Mapping[str, str] = field(default_factory=dict)
    start: Callable[[], Awaitable[None]] = at_once
    keys: KeyFile | None = None
    own_names: bool = False
    slow_s: float | None = None
    log_texts: bool = False
    trails_elsewhere: Elsewhere = nobody
    tracer: Tracer | None = None
    stages: StagesAsked = no_stages
    profile: Callable[[ProfileAsk], Awaitable[bytes]] | None = None
    stacks: Callable[[], Awaitable[Mapping[str, str]]] | None = None
