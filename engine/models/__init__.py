"""Model families, and loading one from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError, EngineFailed
from engine.kernels import Kernels
from engine.models import bert, distilbert, gpt2, llama, modernbert, optimized_transformer
from engine.models.architecture import Architecture
from engine.models.classifier import (
    Classifier,
    HeadWeights,
    bert_head,
    distilbert_head,
    modernbert_head,
    roberta_head,
)
from engine.models.decoder import Decoder
from engine.models.encoder import Encoder
from engine.models.encoder_architecture import EncoderArchitecture
from engine.models.encoder_weights import EncoderWeights
from engine.models.named import Named
from engine.models.transform import Transform, transformed
from engine.models.weights import DecoderWeights

__all__ = [
    "Architecture",
    "Classifier",
    "Decoder",
    "Encoder",
    "EncoderArchitecture",
    "EncoderFamily",
    "Family",
    "encoder_family_of",
    "family_of",
    "load_classifier",
    "load_decoder",
    "load_encoder",
    "read_architecture",
]


@dataclass(frozen=True, slots=True)
class Family:
    """How one kind of checkpoint is read."""

    architecture: Callable[[Mapping[str, Any]], Architecture]
    weights: Callable[[Checkpoint, Architecture, torch.dtype], DecoderWeights]


LLAMA = Family(llama.architecture, llama.Weights)
FAMILIES: dict[str, Family] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gpt2": Family(gpt2.architecture, gpt2.Weights),
    "optimized_transformer": Family(optimized_transformer.architecture, optimized_transformer.Weights),
}


@dataclass(frozen=True, slots=True)
class EncoderFamily:
    """How one kind of encoder checkpoint is read."""

    architecture: Callable[[Mapping[str, Any]], EncoderArchitecture]
    weights: Callable[[Checkpoint, EncoderArchitecture, torch.dtype], EncoderWeights]
    prefix: str  # of the encoder's tensors in a model that has more
    head: Callable[[Named, Mapping[str, Any]], HeadWeights]
    scores: str  # the module that gives the class scores


ROBERTA = EncoderFamily(bert.roberta, bert.Weights, "roberta.", roberta_head, "classifier.out_proj")
ENCODER_FAMILIES: dict[str, EncoderFamily] = {
    "bert": EncoderFamily(bert.bert, bert.Weights, "bert.", bert_head, "classifier"),
    "camembert": ROBERTA,
    "distilbert": EncoderFamily(
        distilbert.architecture, distilbert.Weights, "distilbert.", distilbert_head, "classifier"
    ),
    "modernbert": EncoderFamily(modernbert.architecture, modernbert.Weights, "model.", modernbert_head, "classifier"),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
}


def family_of(config: Mapping[str, Any]) -> Family:
    """The family by config.json's `model_type`. Raises CheckpointError for one that is not supported."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise CheckpointError(f"config.json: model_type {kind!r} is not supported; supported are {known}")
    return FAMILIES[kind]


def encoder_family_of(config: Mapping[str, Any]) -> EncoderFamily:
    """As `family_of`, for encoders."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in ENCODER_FAMILIES:
        known = ", ".join(sorted(ENCODER_FAMILIES))
        raise CheckpointError(f"config.json: model_type {kind!r} is no supported encoder; supported are {known}")
    return ENCODER_FAMILIES[kind]


def read_architecture(checkpoint: Checkpoint) -> Architecture:
    """The shape of the model in a checkpoint. Raises CheckpointError."""
    return family_of(checkpoint.config).architecture(checkpoint.config)


def load_decoder(
    checkpoint: Checkpoint,
    kernels: Kernels,
    max_model_len: int,
    first: int = 0,
    last: int | None = None,
    transform: Transform | None = None,
) -> Decoder:
    """Loads layers `first` to `last` - 1, one at a time; peak memory is the model and about one layer.

    `transform` gets the weights of products before the kernels do; without one they are as the checkpoint has them.
    Raises CheckpointError for missing tensors or shapes that do not fit together, EngineFailed when memory is short.
    """
    family = family_of(checkpoint.config)
    arch = family.architecture(checkpoint.config)
    with loading(checkpoint):
        weights = family.weights(checkpoint, arch, kernels.dtype)
        return Decoder(arch, kernels, weights, max_model_len, first, last, transform or checkpoint.product)


def load_encoder(
    checkpoint: Checkpoint,
    kernels: Kernels,
    max_model_len: int,
    first: int = 0,
    last: int | None = None,
    transform: Transform | None = None,
) -> Encoder:
    """As `load_decoder`, for an encoder."""
    family = encoder_family_of(checkpoint.config)
    arch = family.architecture(checkpoint.config)
    with loading(checkpoint):
        weights = family.weights(checkpoint, arch, kernels.dtype)
        return Encoder(arch, kernels, weights, max_model_len, first, last, transform=transform or checkpoint.product)


def load_classifier(
    checkpoint: Checkpoint, kernels: Kernels, labels: int, transform: Transform | None = None
) -> Classifier:
    """The head of a classifier with so many labels. Raises as `load_decoder`."""
    family = encoder_family_of(checkpoint.config)
    named = Named(checkpoint, kernels.dtype, family.prefix)
    with loading(checkpoint):
        head = transformed(family.head(named, checkpoint.config), "classifier", transform or checkpoint.product)
        return Classifier(kernels, head, family.architecture(checkpoint.config).hidden_size, labels)


@contextmanager
def loading(checkpoint: Checkpoint) -> Iterator[None]:
    """Turns torch's complaints about tensors into CheckpointError, about memory into EngineFailed."""
    try:
        yield
    except RuntimeError as error:
        if "memory" in str(error):
            raise EngineFailed(f"memory is short: {checkpoint.path} could not be loaded ({error})") from error
        raise CheckpointError(f"{checkpoint.path}: the tensors do not fit config.json: {error}") from error
