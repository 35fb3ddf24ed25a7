"""Further training of a causal language model on a plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cluster.training.batches import in_order
from cluster.training.data import digest, read_lines
from cluster.training.folders import attention, copy_tokenizer, folder_digest, require_model_folder, stored_as
from cluster.training.layers import TrainLayers, freeze
from cluster.training.losses import token_loss
from cluster.training.padding import padded
from cluster.training.recipe import Recipe, RunFolder, Store
from cluster.training.task import Batch
from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GenerationTask:
    """The text is cut into rows of `row_tokens`, one after the other; every token but a row's first is learned."""

    recipe: Recipe
    base: Path
    train: Path
    valid: Path | None = None
    test: Path | None = None
    layers: TrainLayers = "all"
    row_tokens: int = 256
    store: Store = "bf16"
    name: str = "generator"

    def check(self) -> None:
        require_model_folder(self.base)
        for path in (self.train, self.valid, self.test):
            if path is not None:
                read_lines(path)
        if self.row_tokens < 2:
            raise ConfigError("A row needs 2 tokens at least: one to see, one to learn.", param="row_tokens")

    def identity(self) -> dict[str, Any]:
        files = {"train": self.train, "valid": self.valid, "test": self.test}
        return {
            "task": self.name,
            **asdict(self.recipe),
            "base": folder_digest(self.base),
            "layers": self.layers,
            "row_tokens": self.row_tokens,
            **{f"{name}_data": digest(path) if path else None for name, path in files.items()},
        }

    def prepare(self, run: RunFolder, device: torch.device) -> None:
        """Nothing is made of the data beforehand."""

    def setup(self, run: RunFolder) -> PreparedGeneration:
        return PreparedGeneration(self)


class PreparedGeneration:
    """Model, tokenizer and rows of tokens."""

    def __init__(self, task: GenerationTask) -> None:
        from transformers import AutoTokenizer

        self.task = task
        self._tokenizer = AutoTokenizer.from_pretrained(task.base)
        self.model = _causal_model(task.base)
        freeze(self.model, task.layers)
        self._rows = self._cut(task.train)
        self._valid = self._cut(task.valid) if task.valid else []
        self.lengths = [len(row) for row in self._rows]

    def collate(self, indices: Sequence[int]) -> Batch:
        return _collate([self._rows[index] for index in indices])

    def count(self, indices: Sequence[int]) -> int:
        return sum(len(self._rows[index]) - 1 for index in indices)

    def loss(self, batch: Batch) -> torch.Tensor:
        return _loss(self.model, batch)

    def after_backward(self) -> None:
        """Nothing to add."""

    def validate(self, device: torch.device, epoch: int) -> dict[str, float]:
        return {"valid_loss": _mean_loss(self.model, self._valid, device)} if self._valid else {}

    def export(self, folder: Path) -> None:
        self.model.to(stored_as(self.task.store)).save_pretrained(folder)
        copy_tokenizer(self.task.base, folder)

    def evaluate(self, folder: Path) -> dict[str, float]:
        """Perplexity on the test text, row by row."""
        if self.task.test is None:
            return {}
        model = _causal_model(folder).eval()
        with torch.no_grad():
            loss = _mean_loss(model, self._cut(self.task.test), torch.device("cpu"))
        return {"perplexity": round(math.exp(loss), 4)}

    def _cut(self, path: Path) -> list[list[int]]:
        tokens: list[int] = self._tokenizer("\n".join(read_lines(path)))["input_ids"]
        size = self.task.row_tokens
        rows = [tokens[start : start + size] for start in range(0, len(tokens), size)]
        rows = [row for row in rows if len(row) > 1]
        if not rows:
            raise ConfigError(f"{path} has one token only. Training needs more text.", param=str(path))
        return rows


def _collate(rows: Sequence[list[int]]) -> Batch:
    # Rows are filled up behind their end, where a causal model cannot look; a mask is not needed.
    return {"input_ids": padded(rows, 0), "real": padded([[1] * len(row) for row in rows], 0)}


def _loss(model: Any, batch: Batch) -> torch.Tensor:
    """B: rows, T: tokens, V: vocabulary."""
    logits = model(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1]  # (B, T-1, V)
    real = batch["real"][:, 1:] == 1
    return token_loss(logits[real], batch["input_ids"][:, 1:][real])


def _mean_loss(model: Any, rows: Sequence[list[int]], device: torch.device) -> float:
    """Per learned token."""
    total, count = 0.0, 0
    for group in in_order([len(row) for row in rows], 2048, "tokens"):
        batch = {name: tensor.to(device) for name, tensor in _collate([rows[index] for index in group]).items()}
        total += float(_loss(model, batch))
        count += sum(len(rows[index]) - 1 for index in group)
    return total / count


def _causal_model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention())
