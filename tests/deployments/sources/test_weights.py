"""The digest follows the weights and nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from deployments.sources import weights
from deployments.sources.digest import Hasher, hash_file
from deployments.sources.weights import weights_digest


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in {"model.safetensors": "weights", "config.json": "{}", "tokenizer.json": "1", **files}.items():
        (folder / name).write_text(text)
    return folder


def test_a_file_has_its_own_sum(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"model")
    assert weights_digest(path, cache=tmp_path / "cache") == hashlib.sha256(b"model").hexdigest()


def test_where_a_folder_lies_does_not_matter_but_its_weights_do(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    one = weights_digest(write(tmp_path / "one"), cache=cache)
    assert weights_digest(write(tmp_path / "two", **{"README.md": "x", "tokenizer.json": "2"}), cache=cache) == one
    assert weights_digest(write(tmp_path / "three", **{"config.json": "[]"}), cache=cache) != one
    assert weights_digest(write(tmp_path / "four", **{"model.safetensors": "others"}), cache=cache) != one
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "config.json").symlink_to(tmp_path / "one" / "config.json")
    (linked / "base-0.safetensors").symlink_to(tmp_path / "one" / "model.safetensors")
    assert weights_digest(linked, cache=cache) == one


def test_a_file_is_hashed_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []

    def count(path: Path, hasher: Hasher) -> str:
        hashed.append(path)
        return hash_file(path, hasher)

    monkeypatch.setattr(weights, "hash_file", count)
    folder, cache = write(tmp_path / "model"), tmp_path / "cache"
    first = weights_digest(folder, cache=cache)
    assert len(hashed) == 2
    assert weights_digest(folder, cache=cache) == first
    assert len(hashed) == 2
    (folder / "model.safetensors").write_text("changed")
    os.utime(folder / "model.safetensors", (5, 5))
    assert weights_digest(folder, cache=cache) != first
    assert len(hashed) == 3


def test_a_damaged_cache_is_not_believed(tmp_path: Path) -> None:
    folder, cache = write(tmp_path / "model"), tmp_path / "cache"
    first = weights_digest(folder, cache=cache)
    for kept in (cache / "digests").iterdir():
        kept.write_text("short")
    assert weights_digest(folder, cache=cache) == first


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    folder = write(tmp_path / "model")
    assert weights_digest(folder, cache=tmp_path / "cache") == weights_digest(folder, cache=tmp_path / "other")
