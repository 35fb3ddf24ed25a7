from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import pytest

from deployments.channels import payload
from deployments.channels.payload import dumps, loads
from deployments.load import Load, StepCost
from engine.encoder.request import Encoded, EncodeRequest
from engine.errors import InvalidRequest, Overloaded, ReplicaEnded
from engine.request import Delta, FinishReason, GrammarSpec, Request, SamplingParams, Timings, TokenLogprobs


@pytest.mark.parametrize(
    "value",
    [
        Request("r", (1, 2), SamplingParams(max_tokens=3, logit_bias={5: -1.0}, grammar=GrammarSpec("regex", "a*"))),
        (
            Delta(
                (1,),
                FinishReason.STOP,
                (TokenLogprobs(1, -0.5, 1, ((1, -0.5), (2, -1.0))),),
                prompt_logprobs=(None,),
                timings=Timings(1, 2, 3),
            ),
            Load("a", cost=StepCost(0.1, 0.2)),
        ),
        ((EncodeRequest("e", (1, 2, 3)),), None),
    ],
)
def test_what_travels_comes_back(value: Any) -> None:
    assert loads(dumps(value)) == value


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32),
        np.arange(6, dtype=np.float32).reshape(3, 2).T,
        np.arange(12, dtype=np.float16).reshape(3, 4)[::2, 1::2],
        np.zeros(0, np.float32),
        np.zeros((3, 0, 2), np.float32),
        np.array(2.5),
        np.array([-1, 2**62]),
        np.array([255], np.uint8),
    ],
)
def test_arrays_come_back(array: Any) -> None:
    values = loads(dumps(Encoded(array))).values
    assert (values.dtype, values.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(values, array)


@pytest.mark.parametrize(
    "array", [np.array([object()]), np.array(["x"]), np.ones(2, ">f4"), np.ones(2, "f4,O"), np.ones(2, bool)]
)
def test_other_arrays_are_not_sent(array: Any) -> None:
    with pytest.raises(pickle.PicklingError, match="cannot be sent: make it one of"):
        dumps(Encoded(array))


def test_errors_come_back_with_what_they_say() -> None:
    told = loads(dumps(InvalidRequest("no", param="x")))
    assert (type(told), told.message, told.param) == (InvalidRequest, "no", "x")
    assert loads(dumps(Overloaded("full", retry_after_s=3))).retry_after_s == 3
    assert loads(dumps(ReplicaEnded("ended", replica="r"))).replica == "r"
    assert isinstance(loads(dumps(ValueError("x"))), ValueError)


class Calls:
    """A pickle that calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.told: tuple[Any, ...] = function, arguments

    def __reduce__(self) -> Any:
        return self.told


@pytest.mark.parametrize(
    "value",
    [
        Calls(os.system, "true"),
        Calls(eval, "1"),
        Calls(getattr, "x", "upper"),
        Calls(pickle.loads, b"N."),
        Calls(loads, b"N."),
        Calls(np.load, "x"),
        Calls(np.ndarray, (1,), "O", b"A" * 8),  # an array of the object that is at 0x4141414141414141
        Calls(np.dtype, "O"),
        Calls(np.frombuffer, b"A" * 8),
    ],
)
def test_functions_are_not_called(value: Calls) -> None:
    with pytest.raises(pickle.UnpicklingError, match="is no data"):
        loads(dumps(value))


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (("|O", (1,), b"A" * 8), "no type of numbers"),
        (("O", (1,), b"A" * 8), "no type of numbers"),
        (("<f4,|O", (1,), b"A" * 12), "no type of numbers"),
        ((["<f4"], (1,), b"A" * 4), "no type of numbers"),
        (("<f4", (1,), b"A" * 8), "other bytes"),
        (("<f4", (3,), b"A" * 8), "other bytes"),
        (("<f4", (1 << 62, 1 << 62), b"A" * 8), "other bytes"),
        (("<f4", (1,), "AAAA"), "other bytes"),
        (("<f4", (2,), [1.0] * 8), "other bytes"),
        (("<f4", (-1,), b"A" * 8), "such a shape"),
        (("<f4", (-1, -2), b"A" * 8), "such a shape"),
        (("<f4", 2, b"A" * 8), "such a shape"),
        (("<f4", (2.0,), b"A" * 8), "such a shape"),
        (("<f4", (0, 1 << 70), b""), "such a shape"),
        (("<f4", (1,) * 99, b"A" * 4), "such a shape"),
    ],
)
def test_made_up_arrays_are_refused(parts: tuple[Any, ...], why: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match=why):
        loads(dumps(Calls(payload._array, *parts)))


def test_an_array_is_not_made_into_another_afterwards() -> None:
    """By the state that a pickle may set; numpy takes a type for it only as an object, which no pickle of ours has."""
    made = Calls(payload._array, "<f4", (2,), b"A" * 8)
    made.told = (*made.told, (1, (1,), "O", False, b"A" * 8))
    with pytest.raises(TypeError):
        loads(dumps(made))


def test_arrays_as_numpy_itself_pickles_them_are_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match="is no data"):
        loads(pickle.dumps(np.ones(2)))


@pytest.mark.parametrize("name", ["deployments.channels.payload\nio.BytesIO", "deployments.channels.payload\nio"])
def test_what_our_modules_import_is_not_ours(name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match="is no data"):
        loads(f"c{name}\n.".encode())


def test_enums_go_by_their_values_on_every_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.0 to 3.11.3 would have them looked up by `getattr`, which `loads` refuses."""
    monkeypatch.setattr(payload, "_ENUMS_BY_NAME", True)
    assert b"getattr" not in payload.dumps([FinishReason.STOP])
    assert payload.loads(payload.dumps([FinishReason.STOP])) == [FinishReason.STOP]
