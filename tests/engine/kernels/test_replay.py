"""Recorded runs of operators against the same runs by Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.kernels.native import NativeKernels
from engine.kernels.operators import load
from engine.kernels.replay import MOST_ROWS, Replay

pytestmark = pytest.mark.skipif(not load(), reason="no C++ compiler: the native kernels are not in use here")

KERNELS = NativeKernels(torch.float32, amx=False)
WEIGHT = torch.randn(24, 24, generator=torch.Generator().manual_seed(0))
LINEAR = KERNELS.linear(WEIGHT, torch.ones(24))
NORM = torch.rand(24, generator=torch.Generator().manual_seed(1))


def layer(hidden: Tensor, rows: Tensor) -> Tensor:
    """Native operators with torch's in between: in place, a view, a cast, a choice of rows."""
    x = KERNELS.rms_norm(hidden, NORM, 1e-5, torch.float32)
    LINEAR.add_to(hidden, x)
    hidden = hidden.index_select(0, rows)
    hidden += hidden[:, 3:4].to(torch.bfloat16).float()
    return KERNELS.layer_norm(hidden, NORM, None, 1e-5, torch.float32)


@torch.inference_mode()
def outputs(replay: Replay, function: Callable[..., Tensor], counts: list[int], owner: object = layer) -> list[Tensor]:
    found = []
    for turn, count in enumerate(counts):
        hidden = torch.randn(count, 24, generator=torch.Generator().manual_seed(turn))
        rows = torch.arange(0, count, 2)
        expected = function(hidden.clone(), rows)
        found.append(replay(owner, function, hidden.clone(), rows))
        assert torch.equal(found[-1], expected)
    return found


def test_the_third_run_needs_no_python() -> None:
    runs: list[int] = []

    def counted(hidden: Tensor, rows: Tensor) -> Tensor:
        runs.append(len(hidden))
        return layer(hidden, rows)

    replay = Replay()
    outputs(replay, counted, [3, 5])
    assert replay.program is not None
    del runs[:]
    outputs(replay, counted, [1, 7, 64])
    assert runs == [1, 7, 64], "only the runs that the test compares with"


def test_two_runs_of_one_size_prove_nothing() -> None:
    replay = Replay()
    outputs(replay, layer, [4, 4, 4])
    assert replay.program is None
    assert not replay.given_up
    outputs(replay, layer, [6])
    assert replay.program is not None


def test_long_runs_are_not_recorded() -> None:
    """They would hold all that they make until their end."""
    replay = Replay()
    outputs(replay, layer, [MOST_ROWS + 1, MOST_ROWS + 2, MOST_ROWS + 3])
    assert replay.program is None
    assert not replay.given_up
    outputs(replay, layer, [3, 5, MOST_ROWS + 1])
    assert replay.program is not None


def by_length(hidden: Tensor, rows: Tensor) -> Tensor:
    return hidden * len(hidden)


def by_number(hidden: Tensor, rows: Tensor) -> Tensor:
    return hidden * 2


def by_choice(hidden: Tensor, rows: Tensor) -> Tensor:
    return hidden + hidden if len(hidden) > 4 else hidden - hidden


def from_nowhere(hidden: Tensor, rows: Tensor) -> Tensor:
    return hidden + torch.from_numpy(hidden.numpy() * 3)


def untouched(hidden: Tensor, rows: Tensor) -> Tensor:
    return torch.from_numpy(hidden.numpy() + 1)


@pytest.mark.parametrize("function", [by_length, by_number, by_choice, from_nowhere, untouched])
def test_what_depends_on_more_than_its_inputs_stays_in_python(function: Callable[..., Tensor]) -> None:
    replay = Replay()
    outputs(replay, function, [3, 5, 8, 2])
    assert replay.program is None
    assert replay.given_up


def test_another_owner_is_recorded_anew() -> None:
    replay, factors = Replay(), [torch.tensor(2.0), torch.tensor(3.0)]
    for factor in factors:
        outputs(replay, lambda hidden, rows, factor=factor: hidden * factor, [3, 5, 8], owner=factor)
        assert replay.program is not None


@torch.inference_mode()
def test_a_fault_in_a_replayed_run_is_raised() -> None:
    replay = Replay()
    outputs(replay, layer, [3, 5])
    with pytest.raises((RuntimeError, IndexError), match="out of range"):
        replay(layer, layer, torch.randn(2, 24), torch.tensor([7]))
    outputs(replay, layer, [4])


def test_recording_does_not_import_the_compiler() -> None:
    """That takes seconds, and would be in every replica's first step."""
    program = """
import sys, torch
from engine.kernels.replay import _Recorder
with _Recorder([]):
    torch.ones(2) + 1
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
