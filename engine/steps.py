"""What every engine looks like from outside: work is added, and done step by step. `engine/loop.py` drives any of them.

R is what an engine takes, P what it prepares for it, O what it gives back, S the snapshot of its state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from engine.errors import StagelineError


class Identified(Protocol):
    """A request: its id is unique among those that one engine holds."""

    @property
    def id(self) -> str: ...


class Output(Protocol):
    """What a request gained. Nothing follows a finished one."""

    @property
    def finished(self) -> bool: ...


class Admission(Protocol):
    """How many requests an engine runs at once, how many wait beside them, and how many tokens a step takes."""

    @property
    def max_running(self) -> int: ...

    @property
    def max_waiting(self) -> int: ...

    @property
    def max_batch_tokens(self) -> int: ...


R = TypeVar("R", bound=Identified)
R_in = TypeVar("R_in", bound=Identified, contravariant=True)
P = TypeVar("P")
O = TypeVar("O", bound=Output)  # noqa: E741
S = TypeVar("S")
S_out = TypeVar("S_out", covariant=True)


class SteppedEngine(Protocol[R_in, P, O, S_out]):
    """Whoever calls `add`, `abort` and `step` owns the engine's state; `prepare` and `failed` touch none of it."""

    @property
    def limits(self) -> Admission: ...

    @property
    def requests(self) -> Mapping[str, Any]:
        """All that were added and are not finished."""

    @property
    def last_step_tokens(self) -> int: ...

    @property
    def idle(self) -> bool: ...

    @property
    def patience_s(self) -> float:
        """How long to wait for more work before the next step; 0 for not at all."""

    def prepare(self, request: R_in) -> P:
        """Checks a request, and does what takes time. Raises InvalidRequest."""

    def add(self, request: R_in, prepared: P) -> None:
        """Queues it. Raises InvalidRequest for an id in use."""

    def abort(self, request_id: str) -> bool:
        """Takes a request out; nothing more is reported of it. False if it is not here."""

    def step(self) -> list[tuple[str, O]]:
        """Computes one batch; what each request gained. Raises ReplicaLost when there is nothing left to compute with,
        and what goes wrong with the batch."""

    def close(self) -> None:
        """Ends what belongs to the engine elsewhere."""

    def stats(self) -> S_out: ...

    def failed(self, error: StagelineError) -> O:
        """The finished output of a request that cannot be completed."""


def run_all(engine: SteppedEngine[R, P, O, S], requests: Sequence[R]) -> list[O]:
    """Computes all requests at once, without a loop's thread: their last outputs, in order."""
    for request in requests:
        engine.add(request, engine.prepare(request))
    last: dict[str, O] = {}
    while not engine.idle:
        last.update(engine.step())
    return [last[request.id] for request in requests]
