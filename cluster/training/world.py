"""The workers of one training as seen by each of them: alone, or joined in a torch process group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class World:
    """`size` workers; this one is `rank`, on `device`."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this worker writes files and evaluates."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the workers, where there are several."""
        if self.size == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True, broadcast_buffers=False)

    @contextmanager
    def accumulating(self, module: nn.Module, last: bool) -> Iterator[None]:
        """Gradients stay here and add up, until the `last` micro-batch sends them round."""
        if isinstance(module, DistributedDataParallel) and not last:
            with module.no_sync():
                yield
        else:
            yield

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all workers."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def from_first(self, values: list[float]) -> list[float]:
        """The first worker's values, everywhere."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.broadcast(tensor, src=0)
        return [float(value) for value in tensor.tolist()]

    def wait(self) -> None:
        """Until all workers are here."""
        if self.size > 1:
            self.total(torch.zeros(1, device=self.device))
