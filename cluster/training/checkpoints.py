"""Checkpoints: a folder each, complete or not there at all. Tensors in safetensors, the rest in JSON, no pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from engine.errors import CheckpointError, ConfigError
from engine.text.json_files import read_json_object

_STATE = "state.json"
_TEMPORARY = ".writing-"


@dataclass(frozen=True, slots=True)
class Position:
    """Where training stands: what has been done, not what comes next.

    `metrics_bytes` is the length of the metrics file then: what was written after it is cut off on resuming.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0  # within the epoch
    best: float | None = None
    best_step: int = 0
    without_better: int = 0
    metrics_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One moment of a training. Tensors are named as the model's parameters; only trained ones are kept."""

    position: Position
    weights: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, identity: Mapping[str, Any], *, keep: int) -> Path:
    """Write, then rename: a kill at any time leaves whole checkpoints only. Older ones than `keep` are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(left, ignore_errors=True)
    final = folder / f"step-{checkpoint.position.step:08d}"
    if final.exists():
        return final
    temporary = folder / f"{_TEMPORARY}{final.name}"
    temporary.mkdir()
    _require_space(folder, checkpoint)
    for name in ("weights", "average", "optimizer"):
        tensors = {key: value.detach().cpu().contiguous() for key, value in getattr(checkpoint, name).items()}
        save_file(tensors, temporary / f"{name}.safetensors")
    state = {"position": asdict(checkpoint.position), "identity": dict(identity)}
    (temporary / _STATE).write_text(json.dumps(state, indent=2), encoding="utf-8")
    for path in temporary.iterdir():
        _sync(path)
    _sync(temporary)
    temporary.rename(final)
    _sync(folder)
    for old in _folders(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def read_checkpoint(folder: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """The last checkpoint, or none. Raises `ConfigError` when it belongs to a training of another recipe."""
    folders = _folders(folder)
    if not folders:
        return None
    state = read_json_object(folders[-1] / _STATE)
    require_same(state.get("identity"), identity, folder.parent)
    try:
        position = Position(**state["position"])
        tensors = [load_file(folders[-1] / f"{name}.safetensors") for name in ("weights", "average", "optimizer")]
    except Exception as error:  # of safetensors, of JSON's shape, of the file system
        raise CheckpointError(
            f"{folders[-1]} cannot be read: {error}. Delete it to go on from an earlier checkpoint, or from the start."
        ) from error
    return Checkpoint(position, *tensors)


def require_same(found: Any, wanted: Mapping[str, Any], run: Path) -> None:
    """Raise `ConfigError` naming what differs between the recipe of a run folder and that of this command."""
    found = found if isinstance(found, dict) else {}
    plain = json.loads(json.dumps(wanted))  # tuples are lists after a way through JSON
    different = sorted(key for key in found.keys() | plain.keys() if found.get(key) != plain.get(key))
    if different:
        told = "; ".join(f"{key}: {found.get(key)!r} there, {plain.get(key)!r} here" for key in different[:4])
        raise ConfigError(
            f"{run} holds a training of another recipe ({told}). Choose another folder with --out, or give the "
            "command that began it.",
            param="out",
        )


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def _require_space(folder: Path, checkpoint: Checkpoint) -> None:
    need = sum(
        tensor.numel() * tensor.element_size()
        for part in (checkpoint.weights, checkpoint.average, checkpoint.optimizer)
        for tensor in part.values()
    )
    free = shutil.disk_usage(folder).free
    if need > free:
        raise CheckpointError(
            f"A checkpoint takes {need >> 20} MiB, {folder} has {free >> 20} MiB left. Free some, then give the same "
            "command again: it goes on from the last checkpoint."
        )


def _sync(path: Path) -> None:
    """Have the disk hold it, so that a rename never is there before what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
