"""What the front door needs of a model's files, by task."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from deployments.bundles import Bundles
from deployments.calls import Replicas, compute, stream
from deployments.front_door.served_models import (
    TEXT_OBJECTIVE,
    ClassificationModel,
    EmbeddingModel,
    GenerationModel,
    ServedModel,
    TranslationModel,
    sampling_defaults,
)
from deployments.provision import BaseFiles
from deployments.routing.prediction import Objective
from deployments.variants import VariantInfo
from engine.checkpoint import Checkpoint, open_checkpoint
from engine.encoder.describe import Task, describe
from engine.models import encoder_family_of, read_architecture
from engine.text.translation import open_translation_text


@dataclass(frozen=True, slots=True)
class OfferedVariant:
    """A variant to offer: the share of the model's quality that it retains, None where that is not known; whether this
    was measured; how many times as fast as fp32 it is, None where that is not known; whether it may be without
    replicas; and whether others may compute on the same cores at the same time."""

    name: str
    retained: float | None = 1.0
    measured: bool = False
    speedup: float | None = None
    may_sleep: bool = False
    shares: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A model to offer: its name, task, files (the front door has the tokenizer of them), the variants (those of equal
    quality in order of preference), pairs of languages where they are given, what is promised, and the share of answers
    that are compared with the best variant's."""

    name: str
    task: str
    files: BaseFiles
    variants: tuple[OfferedVariant, ...]
    pairs: tuple[tuple[str, str], ...] | None = None
    objective: Objective = TEXT_OBJECTIVE
    drift: float = 0.0


def served(offer: Offer, path: Path, max_model_len: int, replicas: Replicas) -> ServedModel:
    """The model as the front door serves it, with its files at `path`. Raises CheckpointError."""
    common: dict[str, Any] = {
        "name": offer.name,
        "variants": tuple(map(_info, offer.variants)),
        "objective": offer.objective,
        "max_model_len": max_model_len,
        "created": int(time.time()),
    }
    with open_checkpoint(path) as checkpoint:
        match offer.task:
            case "text-generation":
                return generation(offer, checkpoint, replicas, common)
            case "translation":
                text = open_translation_text(checkpoint, offer.pairs)
                return TranslationModel(**common, text=text, translate=partial(compute, replicas, offer.name))
        return encoding(offer, checkpoint, replicas, common)


def _info(variant: OfferedVariant) -> VariantInfo:
    """As it is before anything was heard of it."""
    return VariantInfo(
        variant.name,
        "asleep" if variant.may_sleep else "starting",
        variant.retained,
        variant.measured,
        variant.speedup,
        variant.may_sleep,
        variant.shares,
    )


def generation(offer: Offer, checkpoint: Checkpoint, replicas: Replicas, common: dict[str, Any]) -> GenerationModel:
    tokenizer = checkpoint.tokenizer()
    return GenerationModel(
        **common,
        tokenizer=tokenizer,
        vocab_size=read_architecture(checkpoint).vocab_size,
        generate=partial(stream, replicas, offer.name),
        chat_template=tokenizer.chat_template,
        eos_token_ids=tokenizer.eos_token_ids,
        defaults=sampling_defaults(checkpoint.generation_config),
    )


def encoding(
    offer: Offer, checkpoint: Checkpoint, replicas: Replicas, common: dict[str, Any]
) -> ClassificationModel | EmbeddingModel:
    info = describe(checkpoint, cast(Task, offer.task))
    # Short texts of many callers travel together: a call of its own for each would cost as much as computing it.
    bundles: dict[str, Bundles[Any, Any]] = {
        variant.name: Bundles(partial(compute, replicas, offer.name, variant.name)) for variant in offer.variants
    }
    shared: dict[str, Any] = {
        **common,
        "tokenizer": checkpoint.tokenizer(),
        "vocab_size": encoder_family_of(checkpoint.config).architecture(checkpoint.config).vocab_size,
        "encode": lambda variant, requests: bundles[variant].compute(requests),
    }
    if info.problem is not None:
        return ClassificationModel(**shared, labels=info.labels, problem=info.problem)
    return EmbeddingModel(
        **shared,
        dimension=info.dimension,
        normalized=info.normalize,
        prompt=info.prompt,
        lower_case=info.lower_case,
    )
