"""A fine-tuned model as what differs from its base: a small file of tensors under the base's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engine.errors import CheckpointError

CHANGES = "model.safetensors"


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


def _names(folder: Path) -> dict[str, Path]:
    """Every tensor's file. Raises `CheckpointError` where there are no safetensors."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            found |= dict.fromkeys(opened.keys(), file)
    if not found:
        raise CheckpointError(f"{folder} has no .safetensors file. Other formats of weights are not loaded.")
    return found
