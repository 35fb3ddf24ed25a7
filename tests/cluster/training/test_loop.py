from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cluster.training.loop import Loop
from cluster.training.metrics import read_metrics
from cluster.training.recipe import Cadence, Recipe, RunFolder
from cluster.training.task import Batch
from cluster.training.world import World
from engine.errors import ConfigError, EngineFailed

RECIPE = Recipe(
    epochs=3, batch=12, micro_batch=4, unit="examples", learning_rate=0.05, warmup_steps=3, clip=1.0, average=0.9
)
EVERY_STEP = Cadence(log_steps=1, checkpoint_steps=1)


class Line:
    """Learns y = 2x - 1 through dropout. `fail_at`: the call of the loss that is "killed"."""

    def __init__(self, fail_at: int | None = None, rows: int = 50, dropout: float = 0.2) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1))
        self._x = torch.linspace(-1, 1, rows).unsqueeze(1)
        self.lengths = [1] * rows
        self._calls, self._fail_at = 0, fail_at

    def collate(self, indices: Sequence[int]) -> Batch:
        return {"x": self._x[list(indices)]}

    def count(self, indices: Sequence[int]) -> int:
        return len(indices)

    def loss(self, batch: Batch) -> torch.Tensor:
        self._calls += 1
        if self._calls == self._fail_at:
            raise KeyboardInterrupt
        loss: torch.Tensor = ((self.model(batch["x"]) - (2 * batch["x"] - 1)) ** 2).sum()
        return loss

    def after_backward(self) -> None: ...

    def validate(self, device: torch.device, epoch: int) -> Mapping[str, float]:
        with torch.no_grad():
            return {"valid_loss": float(((self.model(self._x) - (2 * self._x - 1)) ** 2).mean())}

    def export(self, folder: Path) -> None: ...

    def evaluate(self, folder: Path) -> Mapping[str, float]:
        return {}


def loop(task: Line, folder: Path, recipe: Recipe = RECIPE, **changes: Any) -> Loop:
    return Loop(task, recipe, {"seed": recipe.seed, **changes}, RunFolder(folder), EVERY_STEP, World())


def curve(folder: Path) -> list[tuple[int, float, float]]:
    """(step, loss, learning rate) of each line that has them, and (step, validation loss, -1)."""
    lines = read_metrics(folder / "metrics.jsonl")
    trained = [(line["step"], line["loss"], line["learning_rate"]) for line in lines if "loss" in line]
    return trained + [(line["step"], line["valid_loss"], -1) for line in lines if "valid_loss" in line]


def test_learns_and_leaves_the_averaged_weights(tmp_path: Path) -> None:
    task = Line()
    running = loop(task, tmp_path)
    position = running.run()
    assert (position.epoch, position.step) == (3, running.steps) == (3, 15)
    losses = [loss for _, loss, rate in curve(tmp_path) if rate >= 0]
    assert losses[-1] < losses[0] / 3
    told = [loss for _, loss, rate in curve(tmp_path) if rate < 0]
    assert task.validate(torch.device("cpu"), 0)["valid_loss"] != pytest.approx(told[0])
    task.model.eval()
    assert task.validate(torch.device("cpu"), 0)["valid_loss"] == pytest.approx(told[-1])


@pytest.mark.parametrize("fail_at", [2, 7, 16, 30])
def test_a_killed_training_goes_on_as_if_nothing_had_been(tmp_path: Path, fail_at: int) -> None:
    whole = Line()
    loop(whole, tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        loop(Line(fail_at), tmp_path / "killed").run()
    resumed = Line()
    loop(resumed, tmp_path / "killed").run()
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


def test_a_finished_training_has_nothing_left_to_do(tmp_path: Path) -> None:
    first = loop(Line(), tmp_path)
    before = first.run()
    task = Line(fail_at=1)
    assert loop(task, tmp_path).run().step == before.step
    torch.testing.assert_close(
        task.model.state_dict(),
        first._model.state_dict(),  # as it was left: the average
    )


def test_another_recipe_does_not_go_on_in_the_same_folder(tmp_path: Path) -> None:
    loop(Line(), tmp_path).run()
    with pytest.raises(ConfigError, match="data: None there, 'other' here"):
        loop(Line(), tmp_path, data="other")


def test_micro_batches_add_up_to_the_batch(tmp_path: Path) -> None:
    """Without dropout, a step's sum over micro-batches is the step of the whole batch at once."""
    results = []
    for micro_batch in (50, 10, 7):
        task = Line(dropout=0.0)
        recipe = Recipe(
            epochs=1, batch=70, micro_batch=micro_batch, unit="examples", learning_rate=0.05, schedule="constant"
        )
        loop(task, tmp_path / str(micro_batch), recipe).run()
        results.append(task.model.state_dict())
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


def test_patience_ends_a_training_that_no_longer_gets_better(tmp_path: Path) -> None:
    class Worse(Line):
        def validate(self, device: torch.device, epoch: int) -> Mapping[str, float]:
            return {"valid_loss": float(epoch)}

    recipe = Recipe(epochs=9, batch=12, micro_batch=4, unit="examples", learning_rate=0.05, patience=2)
    position = loop(Worse(), tmp_path, recipe).run()
    assert (position.epoch, position.best, position.without_better) == (3, 0.0, 2)


def test_a_loss_that_is_no_number_ends_with_advice(tmp_path: Path) -> None:
    class Broken(Line):
        def loss(self, batch: Batch) -> torch.Tensor:
            return super().loss(batch) * float("nan")

    with pytest.raises(EngineFailed, match="--learning-rate"):
        loop(Broken(), tmp_path).run()


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"learning_rate": -1.0}, {"average": 1.0}, {"micro_batch": 20}, {"warmup_steps": -1}]
)
def test_impossible_recipes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Recipe(**{"epochs": 1, "batch": 12, "micro_batch": 4, "unit": "examples", "learning_rate": 0.1, **wrong})
