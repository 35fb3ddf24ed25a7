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
    "array", [np.arange(6, dtype=np.float32), np.ones((3, 2), np.float32).T, np.zeros(0, np.float32)]
)
def test_arrays_come_back(array: Any) -> None:
    values = loads(dumps(Encoded(array))).values
    assert values.dtype == array.dtype
    np.testing.assert_array_equal(values, array)


def test_errors_come_back_with_what_they_say() -> None:
    told = loads(dumps(InvalidRequest("no", param="x")))
    assert (type(told), told.message, told.param) == (InvalidRequest, "no", "x")
    assert loads(dumps(Overloaded("full", retry_after_s=3))).retry_after_s == 3
    assert loads(dumps(ReplicaEnded("ended", replica="r"))).replica == "r"
    assert isinstance(loads(dumps(ValueError("x"))), ValueError)


class Calls:
    """A pickle that calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.told = function, arguments

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
    ],
)
def test_functions_are_not_called(value: Calls) -> None:
    with pytest.raises(pickle.UnpicklingError, match="is no data"):
        loads(dumps(value))


@pytest.mark.parametrize("name", ["deployments.channels.payload\nio.BytesIO", "deployments.channels.payload\nio"])
def test_what_our_modules_import_is_not_ours(name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match="is no data"):
        loads(f"c{name}\n.".encode())


def test_enums_go_by_their_values_on_every_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.0 to 3.11.3 would have them looked up by `getattr`, which `loads` refuses."""
    monkeypatch.setattr(payload, "_ENUMS_BY_NAME", True)
    assert b"getattr" not in payload.dumps([FinishReason.STOP])
    assert payload.loads(payload.dumps([FinishReason.STOP])) == [FinishReason.STOP]
