"""A runner of one task's work over a pipeline, which knows messages only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from engine.pipeline.message import Message
from engine.pipeline.runner import A, Runner, W


@dataclass(frozen=True, slots=True)
class Messenger(Generic[W, A]):
    """See `Runner`."""

    pipeline: Runner[Message, Message]
    to_message: Callable[[W], Message]
    to_answer: Callable[[Message], A]

    @property
    def depth(self) -> int:
        return self.pipeline.depth

    @property
    def broken(self) -> bool:
        return self.pipeline.broken

    def submit(self, work: W) -> None:
        self.pipeline.submit(self.to_message(work))

    def answer(self) -> A:
        return self.to_answer(self.pipeline.answer())

    def repair(self) -> None:
        self.pipeline.repair()

    def close(self) -> None:
        self.pipeline.close()
