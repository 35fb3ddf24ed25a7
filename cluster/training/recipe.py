"""What a training is: everything that its result depends on, and what it does not depend on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import ConfigError

Unit = Literal["tokens", "examples"]
ScheduleName = Literal["inverse-sqrt", "linear", "cosine", "constant"]
Precision = Literal["bf16", "fp32"]
Store = Literal["bf16", "fp32"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The loop's part. `batch` and `micro_batch` count `unit`s, padding included.

    `average` is the decay of the moving average of the weights that is evaluated and exported; 0 is none.
    `patience` is the number of evaluations without a better one after which training ends; 0 is never.
    """

    epochs: int
    batch: int
    micro_batch: int
    unit: Unit
    learning_rate: float
    warmup_steps: int = 0
    schedule: ScheduleName = "linear"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    average: float = 0.0
    patience: int = 0
    precision: Precision = "fp32"
    seed: int = 1

    def __post_init__(self) -> None:
        positive = ("epochs", "batch", "micro_batch", "learning_rate")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name.replace('_', ' ')} must be over 0, not {getattr(self, name)}.", param=name)
        for name in ("warmup_steps", "weight_decay", "clip", "patience"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name.replace('_', ' ')} cannot be under 0.", param=name)
        if not 0 <= self.average < 1:
            raise ConfigError(f"average is a decay: from 0 to under 1, not {self.average}.", param="average")
        if self.micro_batch > self.batch:
            raise ConfigError(
                f"A micro-batch of {self.micro_batch} {self.unit} does not fit into a batch of {self.batch}. "
                "Make it smaller, or the batch bigger.",
                param="micro_batch",
            )


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often what is written. The result does not depend on it."""

    log_steps: int = 10
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int = 0  # 0: by minutes, and at the end of each epoch, only
    keep: int = 2


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one training. The finished model is in `model`."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def prepared(self) -> Path:
        """What was made of the data once: vocabulary, the teacher's outputs."""
        return self.path / "prepared"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def picture(self) -> Path:
        return self.path / "loss.png"

    @property
    def summary(self) -> Path:
        return self.path / "training.json"

    @property
    def model(self) -> Path:
        return self.path / "model"
