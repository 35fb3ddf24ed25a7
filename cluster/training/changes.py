"""A fine-tuned model as what differs from its base: a small file of tensors under the base's names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engine.errors import CheckpointError

CHANGES = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def changed(model: Any, base: Path) -> dict[str, torch.Tensor]:
    """The tensors of `model` that the base folder does not have, or has otherwise, under the base's names.

    Checkpoints of a bare model lack the prefix that a model with a head puts before it ("bert."); so do these names.
    """
    prefix = f"{model.base_model_prefix}."
    theirs = _names(base)
    found: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        bare = name.removeprefix(prefix)
        named = name if name in theirs else bare
        file = theirs.get(named)
        if file is not None:
            with safe_open(file, framework="pt") as opened:
                if torch.equal(opened.get_tensor(named).to(tensor.dtype), tensor.cpu()):
                    continue
        found[named] = tensor.detach().cpu().contiguous()
    return found


def write_changes(model: Any, base: Path, folder: Path, dtype: torch.dtype) -> None:
    """Write the changes in `dtype`, and the configuration of the whole."""
    tensors = {name: tensor.to(dtype) for name, tensor in changed(model, base).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / CHANGES, metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)


def merge(base: Path, changes: Path, folder: Path) -> None:
    """A folder that `transformers` loads: links to both, the configuration of the changes, an index over both."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = dict(_names(base))
    linked: dict[Path, str] = {}
    for number, file in enumerate(dict.fromkeys(weights.values())):
        linked[file] = f"base-{number}.safetensors"
    own = changes / CHANGES
    linked[own] = "changes.safetensors"
    with safe_open(own, framework="pt") as opened:
        weights |= dict.fromkeys(opened.keys(), own)
    for file, name in linked.items():
        (folder / name).symlink_to(file.resolve())
    for file in base.iterdir():
        if file.suffix in (".json", ".txt", ".model") and file.name not in ("config.json", _INDEX):
            (folder / file.name).symlink_to(file.resolve())
    for file in changes.glob("*.json"):
        (folder / file.name).unlink(missing_ok=True)
        (folder / file.name).symlink_to(file.resolve())
    index: Mapping[str, Any] = {
        "metadata": {},
        "weight_map": {name: linked[file] for name, file in weights.items()},
    }
    (folder / _INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def _names(folder: Path) -> dict[str, Path]:
    """Every tensor's file. Raises `CheckpointError` where there are no safetensors."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            found |= dict.fromkeys(opened.keys(), file)
    if not found:
        raise CheckpointError(f"{folder} has no .safetensors file. Other formats of weights are not loaded.")
    return found
