"""Stages for tests: a matrix and a cache that adds up what went through."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from engine.errors import CheckpointError, SourceError
from engine.pipeline.message import Message

WIDTH = 8


def matrix(index: int) -> Tensor:
    """(WIDTH, WIDTH), another one for each stage, of small whole numbers, so that sums are exact."""
    return torch.randint(-2, 3, (WIDTH, WIDTH), generator=torch.Generator().manual_seed(index)).float()


@dataclass
class Adding:
    """Stage `index`: rows (n, WIDTH) -> the sum of all rows so far, times its matrix."""

    index: int
    cache: Tensor = field(default_factory=lambda: torch.zeros(WIDTH))
    weight_bytes: int = WIDTH * WIDTH * 4
    cache_bytes: int = WIDTH * 4

    def run(self, message: Message) -> Message:
        if message.meta.get("sleep_at") == self.index:
            time.sleep(message.meta["sleep_s"])
        if message.meta.get("fail_at") == self.index:
            raise ValueError("this batch is bad")
        if message.meta.get("leave_at") == self.index:
            os.kill(os.getpid(), signal.SIGKILL)
        if message.meta.get("forget"):
            self.cache = torch.zeros(WIDTH)
        (rows,) = message.tensors
        self.cache = self.cache + rows.sum(0)
        return Message(message.kind, message.meta, (rows @ matrix(self.index) + self.cache,))


class Echo:
    """Sends on what it is sent."""

    weight_bytes = cache_bytes = 0

    def run(self, message: Message) -> Message:
        return message


def slow_again(mark: Path) -> Adding:
    """Takes very long to load from the second time on."""
    if mark.exists():
        time.sleep(600.0)
    mark.touch()
    return Adding(0)


def brought(folder: Path) -> None:
    """Leaves a file with the name of the process that it was called in."""
    (folder / str(os.getpid())).touch()


def not_to_be_had() -> None:
    raise SourceError("nobody has it")


def broken() -> Adding:
    raise CheckpointError("the file is damaged")
