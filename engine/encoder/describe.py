"""What a checkpoint offers as a classifier or for embeddings, without reading its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from engine.checkpoint import Checkpoint
from engine.encoder.sentence_config import read_sentence_config
from engine.errors import CheckpointError
from engine.models import EncoderFamily, encoder_family_of
from engine.models.named import Named
from engine.models.pooling import Pooling

Task = Literal["text-classification", "embedding"]
Problem = Literal["single", "multi", "regression"]

_PROBLEMS: dict[str, Problem] = {
    "single_label_classification": "single",
    "multi_label_classification": "multi",
    "regression": "regression",
}


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """A classifier has `labels`, in the order of its scores, and a `problem`; an embedder `pooling` and `normalize`.

    `dimension` is the number of scores or the embedding's width; `max_tokens` bounds a text, special tokens included.
    `prompt` and `lower_case` as in `SentenceConfig`.
    """

    dimension: int
    max_tokens: int
    labels: tuple[str, ...] = ()
    problem: Problem | None = None
    pooling: tuple[Pooling, ...] = ()
    normalize: bool = False
    prompt: str = ""
    lower_case: bool = False


def describe(checkpoint: Checkpoint, task: Task) -> EncoderInfo:
    """Raises CheckpointError for a model that cannot do the task."""
    family = encoder_family_of(checkpoint.config)
    arch = family.architecture(checkpoint.config)
    longest = arch.max_positions
    if longest is None or longest < 1:
        raise CheckpointError("config.json: max_position_embeddings leaves no room for a text")
    if task == "text-classification":
        labels = _labels(checkpoint, family)
        return EncoderInfo(len(labels), longest, labels, _problem(checkpoint, len(labels)))
    sentence = read_sentence_config(checkpoint.path)
    return EncoderInfo(
        dimension=arch.hidden_size * len(sentence.pooling),
        max_tokens=min(longest, sentence.max_tokens or longest),
        pooling=sentence.pooling,
        normalize=sentence.normalize,
        prompt=sentence.prompt,
        lower_case=sentence.lower_case,
    )


def _labels(checkpoint: Checkpoint, family: EncoderFamily) -> tuple[str, ...]:
    """By config.json's id2label; as many as the head has scores."""
    name = Named(checkpoint, torch.float32, family.prefix).find(f"{family.scores}.weight")
    if name is None:
        raise CheckpointError(
            f"{checkpoint.path} has no tensor {family.scores}.weight: it is no classifier. Fine-tune it as one, or "
            "serve it for embeddings."
        )
    count = checkpoint.shape(name)[0]
    given = checkpoint.config.get("id2label") or {}
    if not given:
        return tuple(f"LABEL_{index}" for index in range(count))
    labels = [given.get(str(index)) for index in range(count)]
    if len(given) != count or None in labels:
        raise CheckpointError(
            f"config.json: id2label names {len(given)} labels, the model has {count}; they are numbered from 0"
        )
    return tuple(str(label) for label in labels)


def _problem(checkpoint: Checkpoint, labels: int) -> Problem:
    kind = checkpoint.config.get("problem_type")
    if kind is None:
        return "regression" if labels == 1 else "single"
    if kind not in _PROBLEMS:
        raise CheckpointError(f"config.json: problem_type {kind!r} is not known; known are {', '.join(_PROBLEMS)}")
    return _PROBLEMS[kind]
