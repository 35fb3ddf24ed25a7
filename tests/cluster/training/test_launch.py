from __future__ import annotations

from pathlib import Path

import pytest
from ray.train import ControllerError, WorkerGroupError

from cluster.training.launch import as_stageline_error, finished
from cluster.training.recipe import RunFolder
from engine.errors import ConfigError, EngineFailed

RAISED = ConfigError("The labels differ.", param="labels")


def wrapped(error: Exception) -> Exception:
    """As Ray hands it on from a worker."""
    try:
        raise RuntimeError("a worker failed") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        WorkerGroupError("rank 0", {0: RAISED}),
        WorkerGroupError("both", {0: ValueError("the other one"), 1: wrapped(RAISED)}),
        ControllerError(wrapped(RAISED)),
    ],
)
def test_what_a_worker_raised_on_purpose_comes_out_of_the_wrappings(error: Exception) -> None:
    assert as_stageline_error(error) is RAISED


def test_what_nobody_meant_is_told_with_what_to_do() -> None:
    told = as_stageline_error(WorkerGroupError("rank 0: KeyError", {0: KeyError("x")}))
    assert isinstance(told, EngineFailed)
    assert "rank 0: KeyError" in told.message
    assert "The same command goes on" in told.message


def test_a_result_that_did_not_come_back_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="on a disk that all nodes share"):
        finished(RunFolder(tmp_path))
