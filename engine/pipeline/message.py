"""What travels from stage to stage: plain numbers and tensors, never objects that have to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Message:
    """`kind` says what it is to the stages of one task; `meta` is JSON's kind of data; tensors are on the CPU."""

    kind: str
    meta: dict[str, Any]
    tensors: tuple[Tensor, ...]


class Stage(Protocol):
    """A run of a model's layers, with their caches. Messages come in the order of submission."""

    def run(self, message: Message) -> Message:
        """Computes this stage's part: what the next stage is sent, or from the last one the answer."""

    @property
    def weight_bytes(self) -> int:
        """Of the weights that this stage holds."""

    @property
    def cache_bytes(self) -> int:
        """Of its caches, as far as they may grow."""
