"""Quantized once and kept: whole or not at all, whoever comes first, and anew when base or recipe differ."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import filelock
import pytest
import torch

from deployments.sources import prepared as module
from deployments.sources.prepared import prepared, write_prepared
from engine.checkpoint import open_checkpoint
from engine.checkpoint.prepared import FILE
from engine.config import EngineConfig
from engine.errors import CheckpointError, SourceError
from engine.load import load_layers
from engine.quantization.recipe import Recipe, load_recipe, quantize
from tests.engine import tiny

RECIPE = Recipe("int8-weight")
BASE = "b" * 64


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny.write_checkpoint("llama", tmp_path / "base")
    return tmp_path / "base"


def test_it_is_made_once_and_loads(base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    told: list[int] = []
    folder = prepared(base, BASE, RECIPE, progress=told.append, cache=cache)
    assert told == list(range(1, 3 * 4 + 2))
    made = (folder / FILE).stat().st_mtime_ns
    assert prepared(base, BASE, RECIPE, progress=told.append, cache=cache) == folder
    assert (folder / FILE).stat().st_mtime_ns == made
    assert load_recipe(folder).digest() == RECIPE.digest()
    with open_checkpoint(folder) as checkpoint:
        layers = load_layers(checkpoint, EngineConfig(precision="int8-weight", kv_cache_bytes=1 << 20))
    assert layers.decoder.arch.num_layers == 3
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{folder.name}.lock"}


def test_another_base_or_recipe_has_another_folder(base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folders = {
        prepared(base, BASE, RECIPE, cache=cache),
        prepared(base, "c" * 64, RECIPE, cache=cache),
        prepared(base, BASE, Recipe("int8-weight", group=16), cache=cache),
        prepared(base, BASE, Recipe("int8-weight", kept={"head": "bf16"}), cache=cache),
    }
    assert len(folders) == 4


def test_what_fails_in_the_middle_leaves_nothing(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"

    def fail(name: str, weight: torch.Tensor, recipe: Recipe) -> object:
        if name == "layers.1.out":
            raise KeyboardInterrupt
        return quantize(name, weight, recipe)

    monkeypatch.setattr(module, "quantize", fail)
    with pytest.raises(KeyboardInterrupt):
        prepared(base, BASE, RECIPE, cache=cache)
    assert [path.suffix for path in (cache / "prepared").iterdir()] == [".lock"]


def test_half_of_it_from_a_killed_attempt_is_replaced(base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = prepared(base, BASE, RECIPE, cache=cache)
    (folder / FILE).unlink()  # it is written last
    staging = folder.with_name(f".{folder.name}")
    staging.mkdir()
    (staging / "model.safetensors").write_text("half")
    assert prepared(base, BASE, RECIPE, cache=cache) == folder
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.precision == "int8-weight"
    assert not staging.exists()


def _prepare(arguments: tuple[Path, Path]) -> str:
    torch.set_num_threads(1)
    base, cache = arguments
    return str(prepared(base, BASE, RECIPE, cache=cache))


def test_several_processes_make_it_together(base: Path, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = set(pool.map_async(_prepare, [(base, tmp_path / "cache")] * 3).get(120))
    assert len(found) == 1
    with open_checkpoint(found.pop()) as checkpoint:
        assert checkpoint.precision == "int8-weight"


def test_who_waits_too_long_is_told(base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = prepared(base, BASE, RECIPE, cache=cache)
    (folder / FILE).unlink()
    with filelock.FileLock(f"{folder}.lock"), pytest.raises(SourceError, match="Another process"):
        prepared(base, BASE, RECIPE, cache=cache, lock_timeout_s=0.1)


def test_what_is_quantized_already_is_no_base(base: Path, tmp_path: Path) -> None:
    write_prepared(base, "", RECIPE, tmp_path / "made")
    with pytest.raises(CheckpointError, match="quantized already"):
        write_prepared(tmp_path / "made", "", RECIPE, tmp_path / "again")


def test_a_cache_that_cannot_be_written_is_told(base: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(SourceError, match="STAGELINE_CACHE"):
        prepared(base, BASE, RECIPE, cache=tmp_path / "cache")
