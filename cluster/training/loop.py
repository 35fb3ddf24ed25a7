"""The training loop. One worker's part; what it computes does not depend on how many there are.

Each step's batch is a list of micro-batches that the plan fixes. A worker takes its share of them, seeds dropout by
(seed, step, number of the micro-batch), and divides the sum of losses by the count of the whole batch. Gradients are
added up over the workers once a step. So the sums have the same terms on any number of workers, in another order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from cluster.training.batches import GlobalBatch, MicroBatch, plan_epoch, share
from cluster.training.checkpoints import Checkpoint, Position, read_checkpoint, write_checkpoint
from cluster.training.dropout import ByteDropout
from cluster.training.metrics import MetricsFile
from cluster.training.recipe import Cadence, Recipe, RunFolder
from cluster.training.schedules import rate
from cluster.training.task import Batch, Prepared
from cluster.training.weights import average_of, load_optimizer, optimizer_of, trained, update_average, using_weights
from cluster.training.world import World
from engine.errors import EngineFailed


class _LossModule(nn.Module):
    """The model and its loss as one module, because DistributedDataParallel watches `forward`."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        self.model = prepared.model
        self._loss = prepared.loss

    def forward(self, batch: Batch) -> torch.Tensor:
        return self._loss(batch)


@dataclass(slots=True)
class _State:
    """What changes from step to step. The loop owns it."""

    position: Position
    average: dict[str, torch.Tensor]
    started: float
    saved: float


class Loop:
    """One training, resumed from its last checkpoint where there is one."""

    def __init__(
        self,
        prepared: Prepared,
        recipe: Recipe,
        identity: Mapping[str, Any],
        run: RunFolder,
        cadence: Cadence,
        world: World,
    ) -> None:
        self._prepared, self._recipe, self._identity = prepared, recipe, identity
        self._run, self._cadence, self._world = run, cadence, world
        self._model = prepared.model.to(world.device)
        self._parameters = trained(self._model)
        self._optimizer = _optimizer(self._parameters, recipe)
        checkpoint = read_checkpoint(run.checkpoints, identity)
        average = average_of(self._parameters) if recipe.average else {}
        if checkpoint is not None:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(checkpoint.weights[name])
                for name, kept in average.items():
                    kept.copy_(checkpoint.average[name])
            load_optimizer(self._optimizer, self._parameters, checkpoint.optimizer)
        position = checkpoint.position if checkpoint else Position()
        now = time.monotonic()
        self._state = _State(position, average, now - position.seconds, now)
        self._module = world.wrap(_LossModule(prepared))
        self._metrics = MetricsFile(run.metrics, keep_bytes=position.metrics_bytes) if world.first else None
        self._per_epoch = len(self._plan(0))

    @property
    def steps(self) -> int:
        return self._per_epoch * self._recipe.epochs

    def run(self) -> Position:
        """Train to the end. Afterwards the model has the weights to export."""
        with ByteDropout():
            self._write_start()
            for epoch in self._epochs():
                self._run_epoch(epoch)
        if self._metrics is not None:
            self._metrics.close()
        if self._state.average:
            with torch.no_grad():
                for name, kept in self._state.average.items():
                    self._parameters[name].copy_(kept)
        return self._state.position

    def _epochs(self) -> Iterator[int]:
        """The epochs that are left; the position tells whether to stop early."""
        while self._state.position.epoch < self._recipe.epochs:
            position = self._state.position
            if self._recipe.patience and position.without_better >= self._recipe.patience:
                return
            yield position.epoch

    def _run_epoch(self, epoch: int) -> None:
        seen, since = 0, time.monotonic()
        losses: list[float] = []
        for batch in self._plan(epoch)[self._state.position.batch :]:
            position = self._state.position
            learning_rate = self._rate(position.step)
            loss, count = self._step(batch, position.step, learning_rate)
            losses.append(loss)
            seen += count
            self._move(step=position.step + 1, batch=position.batch + 1)
            if (position.step + 1) % self._cadence.log_steps == 0:
                elapsed = time.monotonic() - since
                self._write(
                    epoch=epoch,
                    loss=sum(losses) / len(losses),
                    learning_rate=learning_rate,
                    per_second=seen / max(elapsed, 1e-9),
                    unit=self._recipe.unit,
                )
                losses, seen, since = [], 0, time.monotonic()
            if self._checkpoint_due():
                self._save()
                since = time.monotonic()
        self._finish_epoch(epoch)

    def _finish_epoch(self, epoch: int) -> None:
        found: Mapping[str, float] = {}
        if self._world.first:
            with self._evaluating():
                found = self._prepared.validate(self._world.device, epoch)
        [valid_loss] = self._world.from_first([found.get("valid_loss", math.nan)])
        position = self._state.position
        better = not math.isnan(valid_loss) and (position.best is None or valid_loss < position.best)
        self._move(
            epoch=epoch + 1,
            batch=0,
            best=valid_loss if better else position.best,
            best_step=position.step if better else position.best_step,
            without_better=0 if better or math.isnan(valid_loss) else position.without_better + 1,
        )
        if found:
            self._write(epoch=epoch, **found)
        self._save()

    def _step(self, batch: GlobalBatch, step: int, learning_rate: float) -> tuple[float, int]:
        """One update. Returns the batch's loss per token or example, and how many of them there were."""
        world = self._world
        count = sum(self._prepared.count(micro) for micro in batch)
        mine = share(batch, world.rank, world.size)
        total = torch.zeros((), device=world.device)
        self._model.train()
        # A worker without a share takes part in the sum of the gradients all the same, with zeros.
        weighed: list[tuple[int, MicroBatch, float]] = [(number, micro, 1.0) for number, micro in mine]
        for number, micro, weight in weighed or [(0, batch[0], 0.0)]:
            torch.manual_seed(_mix(self._recipe.seed, step, number))
            last = number == mine[-1][0] if mine else True
            with world.accumulating(self._module, last), self._precision():
                loss = self._module(self._on_device(micro)) * weight
                # DistributedDataParallel divides by the number of workers; the sum is wanted.
                (loss * (world.size / count)).backward()
            total += loss.detach()
        self._prepared.after_backward()
        if self._recipe.clip:
            torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._recipe.clip)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=world.size == 1)
        if self._state.average:
            update_average(self._state.average, self._parameters, self._recipe.average, step)
        mean = float(world.total(total)) / count
        if not math.isfinite(mean):
            raise EngineFailed(
                f"The loss is no number any more at step {step}. Give the same command with a lower --learning-rate "
                "and another --out folder."
            )
        return mean, count

    def _on_device(self, micro: MicroBatch) -> Batch:
        device = self._world.device
        return {name: tensor.to(device) for name, tensor in self._prepared.collate(micro).items()}

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._world.device.type, torch.bfloat16, enabled=self._recipe.precision == "bf16")

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """The averaged weights, no dropout, no gradients."""
        with ExitStack() as stack:
            if self._state.average:
                stack.enter_context(using_weights(self._parameters, self._state.average))
            stack.enter_context(torch.no_grad())
            stack.enter_context(self._precision())
            self._model.eval()
            yield
            self._model.train()

    def _plan(self, epoch: int) -> tuple[GlobalBatch, ...]:
        recipe = self._recipe
        return plan_epoch(
            self._prepared.lengths,
            batch=recipe.batch,
            micro_batch=recipe.micro_batch,
            unit=recipe.unit,
            seed=recipe.seed,
            epoch=epoch,
        )

    def _rate(self, step: int) -> float:
        recipe = self._recipe
        return rate(recipe.schedule, step, peak=recipe.learning_rate, warmup=recipe.warmup_steps, total=self.steps)

    def _move(self, **changes: Any) -> None:
        self._state.position = replace(self._state.position, seconds=time.monotonic() - self._state.started, **changes)

    def _write_start(self) -> None:
        position = self._state.position
        if position.step == 0:
            self._write(total_steps=self.steps, steps_per_epoch=self._per_epoch)

    def _write(self, **values: Any) -> None:
        if self._metrics is not None:
            position = self._state.position
            self._metrics.write({"step": position.step, **values, "seconds": round(position.seconds, 3)})

    def _checkpoint_due(self) -> bool:
        cadence = self._cadence
        if cadence.checkpoint_steps and self._state.position.step % cadence.checkpoint_steps == 0:
            return True
        return time.monotonic() - self._state.saved >= cadence.checkpoint_minutes * 60

    def _save(self) -> None:
        self._state.saved = time.monotonic()
        if self._metrics is None:
            return
        self._move(metrics_bytes=self._metrics.size)
        state = self._state
        weights = {name: parameter.detach() for name, parameter in self._parameters.items()}
        moments = optimizer_of(self._optimizer, self._parameters)
        checkpoint = Checkpoint(state.position, weights, state.average, moments)
        write_checkpoint(self._run.checkpoints, checkpoint, self._identity, keep=self._cadence.keep)


def _optimizer(parameters: Mapping[str, nn.Parameter], recipe: Recipe) -> torch.optim.AdamW:
    """AdamW. Vectors (biases, norms) do not decay."""
    matrices = [parameter for parameter in parameters.values() if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters.values() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=recipe.learning_rate, betas=recipe.betas, fused=True
    )


def _mix(seed: int, step: int, number: int) -> int:
    """One seed out of three numbers; neighbours are far apart."""
    value = seed
    for part in (step, number):
        value = (value * 6364136223846793005 + part + 1442695040888963407) % (1 << 63)
        value ^= value >> 29
    return value
