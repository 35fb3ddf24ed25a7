from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest
import torch

from cluster.training import checkpoints
from cluster.training.checkpoints import Checkpoint, Position, read_checkpoint, write_checkpoint
from engine.errors import CheckpointError, ConfigError

IDENTITY = {"task": "classifier", "seed": 1, "betas": (0.9, 0.98)}


def checkpoint(step: int) -> Checkpoint:
    tensors = {"weight": torch.full((2, 3), float(step))}
    return Checkpoint(
        Position(step=step, epoch=1, batch=2, best=0.5), tensors, tensors, {"step.weight": torch.ones(())}
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, checkpoint(7), IDENTITY, keep=2)
    found = read_checkpoint(tmp_path, IDENTITY)
    assert found is not None
    assert found.position == checkpoint(7).position
    torch.testing.assert_close(found.weights, checkpoint(7).weights)
    torch.testing.assert_close(found.optimizer, checkpoint(7).optimizer)


def test_nothing_there_is_no_checkpoint(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "absent", IDENTITY) is None


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        write_checkpoint(tmp_path, checkpoint(step), IDENTITY, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000010"]
    found = read_checkpoint(tmp_path, IDENTITY)
    assert found is not None
    assert found.position.step == 10


def test_a_kill_while_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, checkpoint(1), IDENTITY, keep=2)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "_sync", killed)
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(tmp_path, checkpoint(2), IDENTITY, keep=2)
    found = read_checkpoint(tmp_path, IDENTITY)
    assert found is not None
    assert found.position.step == 1
    write_checkpoint(tmp_path, checkpoint(2), IDENTITY, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_another_recipe_is_refused_by_the_names_of_what_differs(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "checkpoints", checkpoint(1), IDENTITY, keep=2)
    with pytest.raises(ConfigError, match=r"another recipe \(seed: 1 there, 2 here\).*--out"):
        read_checkpoint(tmp_path / "checkpoints", {**IDENTITY, "seed": 2})


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, checkpoint(1), IDENTITY, keep=2)
    (folder / "weights.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="Delete it"):
        read_checkpoint(tmp_path, IDENTITY)


def test_a_full_disk_is_told_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(100, 90, 10))
    with pytest.raises(CheckpointError, match="Free some"):
        write_checkpoint(tmp_path, checkpoint(1), IDENTITY, keep=2)
    assert read_checkpoint(tmp_path, IDENTITY) is None
