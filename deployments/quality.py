"""What was measured of one variant, as `quality.json` beside it holds it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deployments.settings import Task
from engine.config import Precision
from engine.errors import ConfigError

FILE = "quality.json"
MEASURES: dict[str, str] = {
    "text-generation": "perplexity",
    "text-classification": "accuracy",
    "translation": "bleu",
    "embedding": "cosine",
}
"""The score by which a task's variants are told apart. A translator may have several that begin with it."""


class _Record(BaseModel):
    # A variant may be so bad that its perplexity is infinite, or no number at all: that is to be told, not lost.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class DataFile(_Record):
    """What was measured on, or calibrated with: `count` windows, texts or sentences."""

    name: str
    sha256: str
    count: int


class Side(_Record):
    """The figures of one of the two: `scores` and `speed` by name, size of the weights in bytes."""

    precision: Precision
    scores: dict[str, float]
    size_bytes: int
    load_s: float | None = None
    speed: dict[str, float] = {}


class Quality(_Record):
    """A variant against the reference in fp32, on the same data and machine.

    `base` is the digest of the weights that it was made from (`deployments.sources.weights`), `recipe` that of how,
    None where nothing was quantized. `rows` predictions were compared: `kl` is the mean of KL(reference || variant) in
    nats, `agreement` the share with the same most likely token or class. `origin` tells where and when that was
    measured, `speed_origin` the same of the speeds.
    """

    format: Literal[1] = 1
    model: str
    task: Task
    base: str
    recipe: str | None
    data: tuple[DataFile, ...] = Field(min_length=1)
    variant: Side
    reference: Side
    rows: int
    kl: float | None
    agreement: float | None
    origin: dict[str, Any] = {}
    speed_origin: dict[str, Any] = {}

    @model_validator(mode="after")
    def _scores_are_the_tasks(self) -> Self:
        measure = MEASURES[self.task]
        if measure not in self.variant.scores or self.variant.scores.keys() != self.reference.scores.keys():
            raise ValueError(f"variant and reference need the same scores, among them {measure}")
        if self.variant.speed.keys() != self.reference.speed.keys() or not all(
            speed > 0 for side in (self.variant, self.reference) for speed in side.speed.values()
        ):
            raise ValueError("variant and reference need the same speeds, all above 0")
        return self

    @property
    def precision(self) -> Precision:
        return self.variant.precision

    @property
    def speedup(self) -> float | None:
        """How many times as fast as the reference with many requests at once; None where that was not measured."""
        if not self.variant.speed:
            return None
        many = list(self.variant.speed)[-1]
        return self.variant.speed[many] / self.reference.speed[many]

    @property
    def retained(self) -> float:
        """The share of the reference's quality that the variant keeps: 0 to 1."""
        return retained(self.task, self.variant.scores, self.reference.scores)


def retained(task: str, scores: dict[str, float], reference: dict[str, float]) -> float:
    """By the task's measure, 0 to 1; a score that is no number retains nothing."""
    measure = MEASURES[task]
    ours, theirs = scores[measure], reference[measure]
    if task == "text-generation":
        ours, theirs = theirs, ours  # the lower the better
    share = ours / theirs if theirs else float(ours >= theirs)
    return 0.0 if math.isnan(share) else max(0.0, min(1.0, share))


def read_quality(folder: Path) -> Quality | None:
    """The measurement in a variant's folder; None where there is none. Raises ConfigError where it is damaged."""
    path = folder / FILE
    try:
        return Quality.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{path} is damaged ({at + ': ' if at else ''}{first['msg']}): measure again with `stageline quantize`."
        ) from None


def write_quality(quality: Quality, folder: Path) -> None:
    """Writes quality.json; it is there whole or not at all."""
    partial = folder / f".{FILE}.tmp"
    partial.write_text(quality.model_dump_json(indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / FILE)
