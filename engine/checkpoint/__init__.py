"""Model files on disk: Hugging Face folders (safetensors) and GGUF files. Pickled weights are never loaded."""

from __future__ import annotations

from pathlib import Path

from engine.checkpoint.base import Checkpoint
from engine.checkpoint.gguf import GGUFCheckpoint
from engine.checkpoint.huggingface import HuggingFaceCheckpoint
from engine.checkpoint.prepared import FILE as PREPARED
from engine.checkpoint.prepared import PreparedCheckpoint
from engine.errors import CheckpointError

__all__ = ["Checkpoint", "open_checkpoint"]


def open_checkpoint(path: Path | str) -> Checkpoint:
    """Open the model at `path`: a Hugging Face folder or one GGUF file.

    Every header is read and checked here; weights are read one by one by `Checkpoint.tensor`.
    Raises `CheckpointError` if the files are missing, damaged or of another kind.
    """
    path = Path(path)
    if path.is_dir():
        return PreparedCheckpoint(path) if (path / PREPARED).exists() else HuggingFaceCheckpoint(path)
    if not path.exists():
        raise CheckpointError(f"There is no model at {path}. Give a Hugging Face folder or a .gguf file.")
    if path.suffix == ".safetensors":
        raise CheckpointError(f"{path} is only a model's weights. Give its folder, which also has config.json.")
    return GGUFCheckpoint(path)
