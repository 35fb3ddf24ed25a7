"""Two folders as one model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from deployments.sources import merged
from engine.checkpoint import open_checkpoint
from engine.errors import SourceError


def write(folder: Path, tensors: dict[str, Tensor], **files: str) -> Path:
    (folder / "1_Pooling").mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = write(tmp_path / "base", {"a": torch.ones(2), "b": torch.ones(3)}, config="{}", tokenizer="{}")
    (folder / "1_Pooling" / "config.json").write_text("{}")
    return folder


@pytest.fixture
def changes(tmp_path: Path) -> Path:
    tensors = {"b": torch.zeros(3, dtype=torch.bfloat16), "c": torch.full((4,), 2.0)}
    return write(tmp_path / "changes", tensors, config='{"model_type": "bert"}')


def test_changes_win_over_the_base(base: Path, changes: Path, tmp_path: Path) -> None:
    folder = merged(base, changes, cache=tmp_path / "cache")
    with open_checkpoint(folder) as checkpoint:
        found = {name: checkpoint.tensor(name, torch.float32).tolist() for name in checkpoint.names()}
        assert checkpoint.config == {"model_type": "bert"}
    assert found == {"a": [1, 1], "b": [0, 0, 0], "c": [2, 2, 2, 2]}
    assert (folder / "tokenizer.json").read_text() == "{}"
    assert (folder / "1_Pooling" / "config.json").read_text() == "{}"


def test_it_is_made_once_and_again_when_a_file_changed(base: Path, changes: Path, tmp_path: Path) -> None:
    folder = merged(base, changes, cache=tmp_path / "cache")
    made = (folder / "model.safetensors.index.json").stat().st_mtime_ns
    assert merged(base, changes, cache=tmp_path / "cache") == folder
    assert (folder / "model.safetensors.index.json").stat().st_mtime_ns == made
    os.utime(changes / "config.json", (1, 1))
    assert merged(base, changes, cache=tmp_path / "cache") != folder


def test_half_of_it_from_a_killed_attempt_is_replaced(base: Path, changes: Path, tmp_path: Path) -> None:
    folder = merged(base, changes, cache=tmp_path / "cache")
    (folder / "model.safetensors.index.json").unlink()
    (folder / "tokenizer.json").unlink()
    assert merged(base, changes, cache=tmp_path / "cache") == folder
    assert json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]["a"] == "base-0.safetensors"
    assert (folder / "tokenizer.json").exists()


def test_a_folder_without_weights_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no \.safetensors file"):
        merged(base, tmp_path, cache=tmp_path / "cache")


def test_damaged_weights_are_told(base: Path, changes: Path, tmp_path: Path) -> None:
    (changes / "model.safetensors").write_bytes(b"no header")
    with pytest.raises(SourceError, match=r"model\.safetensors"):
        merged(base, changes, cache=tmp_path / "cache")
