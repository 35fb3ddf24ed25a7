"""Runs of native operators played again without Python: two are recorded; if they are the same, that is the run.

What differs between steps must come in as a tensor: `Replay` compares recordings of two different numbers of rows, so a
number that depends on shapes, or an operation that it cannot see, shows as a difference, and then Python goes on doing
every step. Nothing that runs may choose operators by the size of its input.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from engine.kernels import native

log = logging.getLogger(__name__)

MOST_ROWS = 64  # of a run that is recorded: all that it makes is held until its end


class _NotRecordable(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Slot:
    """A value that the run is given or makes."""

    index: int


@dataclass(slots=True)
class Recording:
    """Calls of operators, each with its arguments: slots, tensors that were there before, and plain values."""

    calls: list[tuple[Any, list[Any]]]
    result: int

    def same(self, other: Recording) -> bool:
        return (
            self.result == other.result
            and len(self.calls) == len(other.calls)
            and all(
                mine[0] is theirs[0] and all(map(_same, mine[1], theirs[1]))
                for mine, theirs in zip(self.calls, other.calls, strict=True)
            )
        )


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is b
    return type(a) is type(b) and a == b


class _Recorder(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing compiles here. To keep its compiler out torch would import it: for seconds, in the first step."""
        return False

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.slots = {id(tensor): Slot(index) for index, tensor in enumerate(inputs)}
        self.alive: list[Tensor] = list(inputs)  # or a later tensor could get an earlier one's id
        self.calls: list[tuple[Any, list[Any]]] = []
        self.count = len(inputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = dict(zip((one.name for one in func._schema.arguments), args, strict=False)) | (kwargs or {})
        values = [_typed(one, given.get(one.name, one.default_value)) for one in func._schema.arguments]
        self.calls.append((func, [self.slots.get(id(v), v) if isinstance(v, Tensor) else v for v in values]))
        if isinstance(result, Tensor):
            self.slots[id(result)] = Slot(self.count)
            self.alive.append(result)
        if func._schema.returns:
            self.count += 1
        return result


def _typed(argument: Any, value: object) -> object:
    """The value as C++ must have it."""
    kind = str(argument.type)
    if kind == "Tensor" and not isinstance(value, Tensor):
        return _NotRecordable  # torch takes a number there, and makes a tensor of it on the way
    return float(value) if kind == "float" and isinstance(value, int) else value


@dataclass(slots=True)
class Replay:
    """Calls a function of tensors, or plays its recording. `owner` is what the recording holds for, a cache say: with
    another it is made anew.
    """

    owner: object = None
    recording: Recording | None = None
    rows: int = 0  # of the recording
    program: Any = None
    given_up: bool = False

    def __call__(self, owner: object, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """function(*inputs), a run of native operators; the first input's rows are what varies from call to call."""
        if owner is not self.owner:
            self.owner, self.recording, self.program, self.given_up = owner, None, None, False
        if self.program is not None:
            result: Tensor = self.program.run(list(inputs))
            return result
        rows = len(inputs[0])
        if self.given_up or rows > MOST_ROWS or (self.recording is not None and rows == self.rows):
            return function(*inputs)
        recorder = _Recorder(inputs)
        with recorder:
            result = function(*inputs)
        slot = recorder.slots.get(id(result))
        made = None if slot is None else Recording(recorder.calls, slot.index)
        if made is None or (self.recording is not None and not made.same(self.recording)):
            log.info("runs of %s are not played again: they differ, or cannot be recorded", type(owner).__name__)
            self.given_up, self.recording = True, None
        elif self.recording is None:
            self.recording, self.rows = made, rows
        else:
            self.program = _compiled(made, len(inputs))
            self.given_up, self.recording = self.program is None, None
        return result


def _compiled(recording: Recording, inputs: int) -> Any:
    """The recording as something that C++ runs; None where it has what C++ cannot be given."""
    program = torch.classes.stageline.Program(inputs)
    try:
        for func, values in recording.calls:
            for value in values:
                _put(program, value)
            program.call(func._schema.name, func._schema.overload_name)
    except (_NotRecordable, RuntimeError) as error:  # the latter for operators that C++ cannot call so
        log.info("a run cannot be played again: %s", error)
        return None
    program.finish(recording.result)
    return program


def _put(program: Any, value: object) -> None:
    match value:
        case Slot(index):
            program.slot(index)
        case Tensor():
            program.tensor(value)
        case None:
            program.nothing()
        case bool():
            program.flag(value)
        case int():
            program.integer(value)
        case float():
            program.number(value)
        case torch.dtype():
            program.dtype_of(torch.empty(0, dtype=value))
        case _:
            raise _NotRecordable


def replays(kernels: object) -> bool:
    """Whether runs of these kernels can be played again."""
    return isinstance(kernels, native.NativeKernels)
