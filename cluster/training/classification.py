"""Classifiers: one label, any number of labels, or a value, on any encoder that transformers loads."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from cluster.training.batches import in_order
from cluster.training.changes import write_changes
from cluster.training.data import LabelledText, digest, read_labelled, require_known
from cluster.training.folders import attention, copy_tokenizer, folder_digest, require_model_folder, stored_as
from cluster.training.layers import TrainLayers, freeze
from cluster.training.losses import distillation_loss, label_loss, labels_loss, value_loss
from cluster.training.padding import padded
from cluster.training.recipe import Recipe, RunFolder, Store
from cluster.training.task import Batch
from cluster.training.teachers import Teacher, teacher_logits
from engine.checkpoint.merging import merge
from engine.errors import ConfigError
from engine.models import ENCODER_FAMILIES
from engine.models.encoder_architecture import EncoderArchitecture
from engine.text.json_files import read_json_object

Kind = Literal["single", "multi", "regression"]
_PROBLEM = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}
SEPARATOR = "|"  # between the labels of one text


@dataclass(frozen=True, slots=True)
class ClassificationTask:
    """Fine-tunes the model in `base`. With `hold_out`, that share of the training rows is kept for validation.

    `only_changes` exports the tensors that differ from the base, and no tokenizer.
    """

    recipe: Recipe
    base: Path
    train: Path
    valid: Path | None = None
    test: Path | None = None
    kind: Kind = "single"
    layers: TrainLayers = "all"
    hold_out: float = 0.0
    smoothing: float = 0.0
    dropout: float | None = None
    longest: int = 128
    teacher: Teacher | None = None
    only_changes: bool = False
    store: Store = "bf16"
    name: str = "classifier"

    def check(self) -> None:
        require_model_folder(self.base)
        self._check_layers()
        if not 0 <= self.hold_out < 1:
            raise ConfigError(f"--hold-out is a share from 0 to under 1, not {self.hold_out}.", param="hold_out")
        labels = labels_of(read_labelled(self.train), self.kind, self.train)
        for path in (self.valid, self.test):
            if path is None:
                continue
            rows = read_labelled(path)
            if self.kind == "regression":
                labels_of(rows, self.kind, path)
            else:
                require_known(path, [LabelledText("", part) for row in rows for part in _parts(row, self.kind)], labels)
        if self.teacher is not None:
            self.teacher.check(labels)

    def _check_layers(self) -> None:
        arch = self._architecture()
        if arch is not None and isinstance(self.layers, int) and self.layers > arch.num_layers:
            raise ConfigError(f"The model has {arch.num_layers} layers, not {self.layers}.", param="train_layers")

    def _architecture(self) -> EncoderArchitecture | None:
        """The base's, where its family is one that the engine knows."""
        config = read_json_object(self.base / "config.json")
        family = ENCODER_FAMILIES.get(str(config.get("model_type")))
        return None if family is None else family.architecture(config)

    @property
    def cut_at(self) -> int:
        """Tokens of a text: `longest`, or fewer where the model takes fewer."""
        arch = self._architecture()
        return min(self.longest, arch.max_positions or self.longest) if arch is not None else self.longest

    def identity(self) -> dict[str, Any]:
        files = {"train": self.train, "valid": self.valid, "test": self.test}
        return {
            "task": self.name,
            **asdict(self.recipe),
            "base": folder_digest(self.base),
            "kind": self.kind,
            "layers": self.layers,
            "hold_out": self.hold_out,
            "smoothing": self.smoothing,
            "dropout": self.dropout,
            "longest": self.longest,
            "teacher": self.teacher.identity() if self.teacher else None,
            **{f"{name}_data": digest(path) if path else None for name, path in files.items()},
        }

    def prepare(self, run: RunFolder, device: torch.device) -> None:
        if self.teacher is not None:
            texts = [row.text for row in read_labelled(self.train)]
            teacher_logits(self.teacher, texts, run.prepared, device, longest=self.cut_at)

    def setup(self, run: RunFolder) -> PreparedClassification:
        return PreparedClassification(self, run)


class PreparedClassification:
    """Model, tokenizer and encoded texts."""

    def __init__(self, task: ClassificationTask, run: RunFolder) -> None:
        from transformers import AutoTokenizer

        self.task = task
        rows = read_labelled(task.train)
        self.labels = labels_of(rows, task.kind, task.train)
        self._tokenizer = AutoTokenizer.from_pretrained(task.base)
        torch.manual_seed(task.recipe.seed)  # the new head's weights
        self.model = _classifier(task.base, self.labels, task.kind, task.dropout)
        freeze(self.model, task.layers)
        texts = self._encode([row.text for row in rows])
        targets = targets_of(rows, self.labels, task.kind)
        held = _held_out(len(rows), task.hold_out, task.recipe.seed)
        kept = [index for index in range(len(rows)) if index not in held]
        self._texts, self._targets = [texts[index] for index in kept], targets[kept]
        self._teacher = None
        if task.teacher is not None:
            self._teacher = teacher_logits(
                task.teacher, [row.text for row in rows], run.prepared, torch.device("cpu"), longest=task.cut_at
            )[kept]
        self.lengths = [len(text) for text in self._texts]
        if task.valid is not None:
            rows = read_labelled(task.valid)
            self._valid = self._encode([row.text for row in rows]), targets_of(rows, self.labels, task.kind)
        else:
            chosen = sorted(held)
            self._valid = [texts[index] for index in chosen], targets[chosen]

    def collate(self, indices: Sequence[int]) -> Batch:
        batch = self._collate([self._texts[index] for index in indices])
        batch["labels"] = self._targets[list(indices)]
        if self._teacher is not None:
            batch["teacher"] = self._teacher[list(indices)]
        return batch

    def count(self, indices: Sequence[int]) -> int:
        return len(indices)

    def loss(self, batch: Batch) -> torch.Tensor:
        """B: texts, C: labels."""
        logits = self._logits(batch)  # (B, C)
        own = self._own_loss(logits, batch["labels"], self.task.smoothing)
        teacher = self.task.teacher
        if teacher is None:
            return own
        taught = distillation_loss(logits, batch["teacher"], temperature=teacher.temperature)
        return teacher.share * taught + (1 - teacher.share) * own

    def after_backward(self) -> None:
        """Nothing to add."""

    def validate(self, device: torch.device, epoch: int) -> dict[str, float]:
        texts, targets = self._valid
        if not texts:
            return {}
        logits = logits_of(self.model, texts, self._collate, device)
        loss = self._own_loss(logits, targets, 0.0) / len(texts)
        quality = classification_quality(logits, targets, self.task.kind)
        return {"valid_loss": float(loss), **{f"valid_{name}": value for name, value in quality.items()}}

    def export(self, folder: Path) -> None:
        if self.task.only_changes:
            write_changes(self.model, self.task.base, folder, stored_as(self.task.store))
            return
        self.model.to(stored_as(self.task.store)).save_pretrained(folder)
        copy_tokenizer(self.task.base, folder)

    def evaluate(self, folder: Path) -> dict[str, float]:
        """Quality on the test rows of what lies in `folder`, computed in fp32."""
        if self.task.test is None:
            return {}
        with tempfile.TemporaryDirectory() as temporary:
            if self.task.only_changes:
                merge(self.task.base, folder, Path(temporary) / "merged")
                folder = Path(temporary) / "merged"
            model = _loaded(folder)
            rows = read_labelled(self.task.test)
            with torch.no_grad():
                logits = logits_of(model, self._encode([row.text for row in rows]), self._collate, torch.device("cpu"))
        return classification_quality(logits, targets_of(rows, self.labels, self.task.kind), self.task.kind)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        encoded: list[list[int]] = self._tokenizer(texts, truncation=True, max_length=self.task.cut_at)["input_ids"]
        return encoded

    def _collate(self, texts: Sequence[list[int]]) -> Batch:
        return {
            "input_ids": padded(texts, int(self._tokenizer.pad_token_id)),
            "attention_mask": padded([[1] * len(text) for text in texts], 0),
        }

    def _logits(self, batch: Batch) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return logits

    def _own_loss(self, logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
        if self.task.kind == "single":
            return label_loss(logits, labels, smoothing=smoothing)
        return (labels_loss if self.task.kind == "multi" else value_loss)(logits, labels)


def labels_of(rows: Sequence[LabelledText], kind: Kind, path: Path) -> tuple[str, ...]:
    """The labels in the order of the alphabet; one named "value" for regression. Raises `ConfigError`."""
    if kind == "regression":
        for row in rows:
            if not _is_number(row.label):
                raise ConfigError(f"{path}: {row.label!r} is no number, as --kind regression wants.", param=str(path))
        return ("value",)
    labels = tuple(sorted({part for row in rows for part in _parts(row, kind)}))
    if len(labels) < 2 and kind == "single":
        raise ConfigError(f"{path} has one label only, {labels[0]!r}. A classifier needs two or more.", param=str(path))
    return labels


def targets_of(rows: Sequence[LabelledText], labels: Sequence[str], kind: Kind) -> torch.Tensor:
    """(N) label numbers, (N, C) zeros and ones, or (N) values."""
    if kind == "regression":
        return torch.tensor([float(row.label) for row in rows])
    numbers = {label: number for number, label in enumerate(labels)}
    if kind == "single":
        return torch.tensor([numbers[row.label] for row in rows])
    out = torch.zeros(len(rows), len(labels))
    for index, row in enumerate(rows):
        out[index, [numbers[part] for part in _parts(row, kind)]] = 1
    return out


def logits_of(model: Any, texts: Sequence[list[int]], collate: Any, device: torch.device) -> torch.Tensor:
    """(N, C), in the texts' order."""
    out: list[torch.Tensor] = [torch.empty(0)] * len(texts)
    for group in in_order([len(text) for text in texts], 64, "examples"):
        batch = {name: tensor.to(device) for name, tensor in collate([texts[index] for index in group]).items()}
        for index, row in zip(group, model(**batch).logits.float().cpu(), strict=True):
            out[index] = row
    return torch.stack(out)


def classification_quality(logits: torch.Tensor, targets: torch.Tensor, kind: Kind) -> dict[str, float]:
    """Accuracy; for several labels the share of texts with all of them right; for values the root of the mean error."""
    if kind == "regression":
        return {"rmse": round(math.sqrt(float(((logits.squeeze(-1) - targets) ** 2).mean())), 5)}
    right = logits.argmax(-1) == targets if kind == "single" else ((logits > 0) == (targets > 0)).all(-1)
    return {"accuracy": round(float(right.float().mean()), 5)}


def _classifier(base: Path, labels: Sequence[str], kind: Kind, dropout: float | None) -> Any:
    from transformers import AutoModelForSequenceClassification

    options: dict[str, Any] = {} if dropout is None else {"classifier_dropout": dropout}
    return AutoModelForSequenceClassification.from_pretrained(
        base,
        dtype=torch.float32,
        attn_implementation=attention(),
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        problem_type=_PROBLEM[kind],
        **options,
    )


def _loaded(folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention()
    ).eval()


def _parts(row: LabelledText, kind: Kind) -> list[str]:
    return [part.strip() for part in row.label.split(SEPARATOR)] if kind == "multi" else [row.label]


def _held_out(count: int, share: float, seed: int) -> set[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return set(order[: round(count * share)])


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
