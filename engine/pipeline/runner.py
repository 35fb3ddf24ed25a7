"""Where an engine's work is computed: right here, or in stages elsewhere. The engine sees no difference.

W is a piece of work, one batch; A is what comes back of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from engine.spans import span

W = TypeVar("W")
A = TypeVar("A")
W_in = TypeVar("W_in", contravariant=True)
A_out = TypeVar("A_out", covariant=True)


class Runner(Protocol[W_in, A_out]):
    """Computes work strictly in the order in which it is given. One thread, the engine's, calls it."""

    @property
    def depth(self) -> int:
        """How many pieces of work are to be under way at once: as many as there are stages."""

    @property
    def broken(self) -> bool:
        """Whether a repair is due. Also while there is no work: it is better done before some comes."""

    def submit(self, work: W_in) -> None:
        """Takes work on. Raises StageLost."""

    def answer(self) -> A_out:
        """Waits for the oldest work that is not answered. Raises StageLost, and EngineFailed for work that could not be
        computed (the runner goes on)."""

    def repair(self) -> None:
        """After StageLost: makes it whole again. All work under way is gone, and so is what the caches held. Raises
        ReplicaLost where that cannot be done within the runner's limit."""

    def close(self) -> None:
        """Ends what belongs to the runner; nothing may be submitted after that."""


class LocalRunner(Generic[W, A]):
    """Computes in this process, when the answer is asked for."""

    depth = 1
    broken = False

    def __init__(self, compute: Callable[[W], A]) -> None:
        self.compute = compute
        self._waiting: deque[W] = deque()

    def submit(self, work: W) -> None:
        self._waiting.append(work)

    def answer(self) -> A:
        with span("compute"):
            return self.compute(self._waiting.popleft())

    def repair(self) -> None:
        raise AssertionError("there is nothing here that could be lost")

    def close(self) -> None:
        self._waiting.clear()
