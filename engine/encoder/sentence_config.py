"""What a sentence-transformers folder says about making embeddings: `modules.json` and the files that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engine.errors import CheckpointError
from engine.models.pooling import Pooling
from engine.text.json_files import json_of, read_json_object, read_text

# In the order in which several are joined.
_MODES: dict[str, tuple[str, Pooling]] = {
    "pooling_mode_cls_token": ("cls", "cls"),
    "pooling_mode_max_tokens": ("max", "max"),
    "pooling_mode_mean_tokens": ("mean", "mean"),
    "pooling_mode_mean_sqrt_len_tokens": ("mean_sqrt_len_tokens", "mean_sqrt_len"),
    "pooling_mode_weightedmean_tokens": ("weightedmean", "weighted_mean"),
    "pooling_mode_lasttoken": ("lasttoken", "last"),
}


@dataclass(frozen=True, slots=True)
class SentenceConfig:
    """How a text's vector is made. Several poolings are joined end to end; `normalize` gives it the length 1.

    `max_tokens` is None where only the encoder's positions bound a text. `prompt` goes before every text, and with
    `lower_case` texts are lowered before they are cut into tokens.
    """

    pooling: tuple[Pooling, ...] = ("mean",)
    normalize: bool = True
    max_tokens: int | None = None
    prompt: str = ""
    lower_case: bool = False


def read_sentence_config(folder: Path) -> SentenceConfig:
    """The folder's settings; mean and normalized where it is a plain encoder's. Raises CheckpointError."""
    file = folder / "modules.json"
    if not file.exists():
        return SentenceConfig()
    modules = json_of(file, read_text(file))
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise CheckpointError(f"{file} holds no list of modules. Fetch it again.")
    pooling: tuple[Pooling, ...] | None = None
    normalize = False
    for module in modules:
        kind = str(module.get("type")).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _read_pooling(_inside(folder, module.get("path"), file) / "config.json")
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise CheckpointError(f"{file}: module {kind!r} is not supported; Transformer, Pooling and Normalize are")
    if pooling is None:
        raise CheckpointError(f"{file} names no Pooling module, so that a text has no single vector")
    named = sorted(folder.glob("sentence_*_config.json"))  # sentence_bert_config.json; older folders name other kinds
    lengths = read_json_object(named[0]) if named else {}
    longest = lengths.get("max_seq_length")
    if longest is not None and (not isinstance(longest, int) or longest < 1):
        raise CheckpointError(f"{named[0]}: max_seq_length must be above 0, not {longest!r}")
    return SentenceConfig(pooling, normalize, longest, _read_prompt(folder), bool(lengths.get("do_lower_case")))


def _read_pooling(file: Path) -> tuple[Pooling, ...]:
    config = read_json_object(file)
    named = config.get("pooling_mode")
    names = [named] if isinstance(named, str) else named
    found = tuple(
        mode for key, (name, mode) in _MODES.items() if (name in names if isinstance(names, list) else config.get(key))
    )
    if not found:
        raise CheckpointError(f"{file} names no pooling that is known: {', '.join(_MODES)}")
    return found


def _read_prompt(folder: Path) -> str:
    config = _optional(folder / "config_sentence_transformers.json")
    name = config.get("default_prompt_name")
    if name is None:
        return ""
    prompt = (config.get("prompts") or {}).get(name)
    if not isinstance(prompt, str):
        raise CheckpointError(f"config_sentence_transformers.json has no prompt of its default name {name!r}")
    return prompt


def _inside(folder: Path, path: object, file: Path) -> Path:
    parts = PurePosixPath(str(path)).parts
    if not isinstance(path, str) or PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path or "\0" in path:
        raise CheckpointError(f"{file} names {path!r}, which is not inside the model's folder. Do not trust it.")
    return folder / path


def _optional(file: Path) -> Mapping[str, Any]:
    return read_json_object(file) if file.exists() else {}
