"""Hugging Face folders: what training reads from them and writes to them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import torch

from cluster.training.data import digest
from cluster.training.recipe import Store
from engine.errors import ConfigError

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "source.spm",
    "target.spm",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


def require_model_folder(folder: Path) -> None:
    """Raise `ConfigError` unless it has a configuration and safetensors."""
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is no model's folder: it has no config.json.", param="base")
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(f"{folder} has no .safetensors file. Other formats of weights are not loaded.", param="base")


def folder_digest(folder: Path) -> str:
    """One SHA-256 over a model's configuration and weights."""
    files = sorted([folder / "config.json", *folder.glob("*.safetensors")])
    return hashlib.sha256("".join(digest(file) for file in files).encode()).hexdigest()


def copy_tokenizer(source: Path, target: Path) -> None:
    """The tokenizer's files as they are; saving a loaded tokenizer would write them in another form."""
    target.mkdir(parents=True, exist_ok=True)
    for name in _TOKENIZER_FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def stored_as(store: Store) -> torch.dtype:
    return torch.bfloat16 if store == "bf16" else torch.float32


def attention() -> str:
    """For short rows on a CPU, the backward pass of plain matrix products is far faster than the fused one's."""
    return "sdpa" if torch.cuda.is_available() else "eager"
