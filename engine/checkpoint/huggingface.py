"""A Hugging Face folder: config.json, safetensors weights (one file or several), tokenizer files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import torch

from engine.checkpoint.base import Checkpoint
from engine.checkpoint.safetensors import SafetensorsFile
from engine.errors import CheckpointError
from engine.text.json_files import read_json_object
from engine.text.tokenizer import Tokenizer
from engine.text.tokenizer_files import load_tokenizer

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class HuggingFaceCheckpoint(Checkpoint):
    """Opens the folder's files and checks them. Raises `CheckpointError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "config.json").exists():
            gguf = sorted(file.name for file in path.glob("*.gguf"))
            hint = f"Name the GGUF file itself: {path / gguf[0]}." if gguf else "Fetch the whole model."
            raise CheckpointError(f"{path} has no config.json. {hint}")
        self.config = read_json_object(path / "config.json")
        generation = path / "generation_config.json"
        self.generation_config = read_json_object(generation) if generation.exists() else {}
        self._files: list[SafetensorsFile] = []
        self._where: dict[str, SafetensorsFile] = {}
        try:
            self._open_weights()
        except CheckpointError:
            self.close()
            raise

    def _open_weights(self) -> None:
        if (self.path / _SINGLE).exists():
            file = self._open(_SINGLE)
            self._where = dict.fromkeys(file.names(), file)
        elif (self.path / _INDEX).exists():
            self._open_shards()
        else:
            raise CheckpointError(_no_weights(self.path))

    def _open_shards(self) -> None:
        index = self.path / _INDEX
        weight_map = read_json_object(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
            raise CheckpointError(f"{index} has no valid weight_map. Fetch it again.")
        shards: dict[str, SafetensorsFile] = {}
        for name, file in weight_map.items():
            if file not in shards:
                _check_inside(file, index)
                if not (self.path / file).exists():
                    raise CheckpointError(f"{index} names {file}, which is missing. Fetch the whole model.")
                shards[file] = self._open(file)
            if name not in shards[file].names():
                raise CheckpointError(f"{index} places tensor {name!r} in {file}, which has none of that name.")
            self._where[name] = shards[file]

    def _open(self, file: str) -> SafetensorsFile:
        opened = SafetensorsFile(self.path / file)
        self._files.append(opened)
        return opened

    def names(self) -> frozenset[str]:
        return frozenset(self._where)

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self._where:
            raise self._missing(name)
        return self._where[name].shape(name)

    def _read(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        return self._where[name].read(name, dtype)

    def tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.path, self.config, self.generation_config)

    def close(self) -> None:
        for file in self._files:
            file.close()


def _check_inside(file: str, index: Path) -> None:
    """By the name alone: in a download cache the files themselves are links to elsewhere, and rightly so."""
    parts = PurePosixPath(file).parts
    if not parts or PurePosixPath(file).is_absolute() or ".." in parts or "\\" in file or ":" in file or "\0" in file:
        raise CheckpointError(f"{index} names {file!r}, which is not inside the model's folder. Do not trust it.")


def _no_weights(path: Path) -> str:
    if any(path.glob("*.bin")) or any(path.glob("*.pt")) or any(path.glob("*.pth")):
        return (
            f"{path} has only pickled weights, which are never loaded because a pickle can run any code. Convert them "
            "where you trust them: transformers' AutoModel.from_pretrained(folder).save_pretrained(new_folder)."
        )
    return f"{path} has neither {_SINGLE} nor {_INDEX}. Fetch the whole model, with safetensors weights."
