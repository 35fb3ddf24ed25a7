"""Models' folders with traps in them: names that lead elsewhere, files that have no end, pickles, absurd settings."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deployments.attacks.case import Case
from deployments.attacks.hostile_safetensors import tensor, written
from deployments.attacks.small_folder import CONFIG, TOKENIZER, load_all, sound_folder, write_json

INDEX = "model.safetensors.index.json"


def _spoilt(spoil: Callable[[Path], Any]) -> Callable[[Path], None]:
    """A sound folder, then `spoil`, then loading it."""

    def act(folder: Path) -> None:
        spoil(sound_folder(folder))
        load_all(folder)

    return act


def _content(name: str, content: bytes) -> Callable[[Path], None]:
    return _spoilt(lambda folder: (folder / name).write_bytes(content))


def _config(**changes: Any) -> Callable[[Path], None]:
    return _spoilt(lambda folder: write_json(folder / "config.json", CONFIG | changes))


def _tokenizer(**changes: Any) -> Callable[[Path], None]:
    return _spoilt(lambda folder: write_json(folder / "tokenizer.json", TOKENIZER | changes))


def _shards(weight_map: object) -> Callable[[Path], None]:
    """Weights only by an index that says this."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "other.safetensors")
        write_json(folder / INDEX, {"weight_map": weight_map})

    return _spoilt(spoil)


def _instead(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Another kind of file in the place of `name`."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return _spoilt(spoil)


def _holes(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def _terabyte(folder: Path) -> None:
    """Weights of 1 TiB that are a hole in the file, as config.json says too."""
    rows, size = 1 << 28, 1 << 40
    header = {"model.embed_tokens.weight": tensor(shape=[rows, size // rows // 4], offsets=[0, size])}
    path = written(folder, header)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    write_json(folder / "config.json", CONFIG | {"vocab_size": rows, "hidden_size": size // rows // 4})


class _Runs:
    """What a pickle does when it is read."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


def _pickled(name: str) -> Callable[[Path], None]:
    """Weights only as a pickle that leaves a mark where it is read."""

    def act(folder: Path) -> None:
        sound_folder(folder)
        (folder / "model.safetensors").unlink()
        mark = folder / "was-run"
        (folder / name).write_bytes(pickle.dumps(_Runs(str(mark))))
        try:
            load_all(folder)
        finally:
            if mark.exists():
                raise AssertionError("the pickle was run")

    return act


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


NESTED = b'{"a":' * 200_000
MODEL: Mapping[str, Any] = TOKENIZER["model"]

CASES = (
    Case("a sound folder", _spoilt(lambda folder: None), refused=()),
    *(
        Case(f"a shard called {name!r}", _shards({"model.norm.weight": name}))
        for name in (
            "../../../../etc/passwd",
            "/etc/passwd",
            "a/../../other.safetensors",
            "..\\other.safetensors",
            "C:other.safetensors",
            "other.safetensors\0.txt",
            "",
        )
    ),
    Case("a shard that is a number", _shards({"model.norm.weight": 7})),
    Case("a map of shards that is a list", _shards(["other.safetensors"])),
    Case("a map of shards nested 200,000 deep", _content(INDEX, NESTED), refused=()),  # model.safetensors wins
    Case("weights in a pickle", _pickled("pytorch_model.bin")),
    Case("weights in a pickle called .pt", _pickled("model.pt")),
    Case("a pickle called safetensors", _content("model.safetensors", pickle.dumps(_Runs("never")))),
    *(
        Case(f"{name} that is a pipe", _instead(name, lambda path: os.mkfifo(path)))
        for name in ("config.json", "tokenizer.json", "model.safetensors")
    ),
    *(
        Case(f"{name} that leads to /dev/zero", _instead(name, _zeros))
        for name in ("config.json", "tokenizer.json", "model.safetensors")
    ),
    *(Case(f"{name} that leads to itself", _instead(name, _loop)) for name in ("config.json", "tokenizer.json")),
    *(
        Case(f"{name} of 3 GiB of holes", _instead(name, _holes(3 << 30)))
        for name in ("config.json", "tokenizer.json", "model.safetensors")
    ),
    Case("weights of 1 TiB of holes", _spoilt(_terabyte), refused=("CheckpointError", "EngineFailed")),
    Case("config.json that is a folder", _instead("config.json", lambda path: path.mkdir())),
    Case("a config nested 200,000 deep", _content("config.json", NESTED)),
    Case("a config with the byte FF", _content("config.json", b'{"a": "\xff"}')),
    Case("a config with a number of a million digits", _content("config.json", b'{"a":' + b"9" * 1_000_000 + b"}")),
    Case("a config that is a list", _content("config.json", b"[]")),
    Case("a model type that is a list", _config(model_type=["llama"])),
    Case("two billion layers", _config(num_hidden_layers=2_000_000_000)),
    Case("a vocabulary of two billion", _config(vocab_size=2_000_000_000)),
    Case("heads of two billion values", _config(head_dim=2_000_000_000), refused=("CheckpointError", "EngineFailed")),
    Case("a context of two billion tokens", _config(max_position_embeddings=2_000_000_000), refused=()),
    Case("minus one layer", _config(num_hidden_layers=-1)),
    Case("layers in words", _config(num_hidden_layers="many")),
    Case("an activation that is a list", _config(hidden_act=["silu"])),
    Case("an epsilon in words", _config(rms_norm_eps="small")),
    Case("an epsilon that is a list", _config(rms_norm_eps=[])),
    Case("a rope scaling in words", _config(rope_scaling="twice")),
    Case("a rope scaling of an unknown kind", _config(rope_scaling={"rope_type": ["x"], "factor": "y"})),
    Case("a rope theta in words", _config(rope_theta="big")),
    Case("an end token in words", _config(eos_token_id="end")),
    Case("a tokenizer nested 200,000 deep", _content("tokenizer.json", NESTED)),
    Case("a tokenizer of no kind", _content("tokenizer.json", b"{}")),
    Case("a tokenizer with the byte FF", _content("tokenizer.json", b'{"a": "\xff"}')),
    Case("a tokenizer without words", _tokenizer(model={**MODEL, "vocab": {}})),
    Case("a tokenizer whose ids are huge", _tokenizer(model={**MODEL, "vocab": {"a": (1 << 64) - 1}})),
    Case("a tokenizer with a broken expression",
         _tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "((("}, "behavior": "Isolated",
                                   "invert": False})),
    Case("a tokenizer whose merges name no words", _tokenizer(model={"type": "BPE", "vocab": {"a": 0},
                                                                     "merges": ["x y"]})),
)  # fmt: skip
