"""Folders of variants that are made from their base and a recipe, once, and kept in the cache.

<cache>/prepared/<key>/...   see `engine.quantization.prepare`; the key holds the base's digest, the recipe's, and the
                             versions of format and arithmetic
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import filelock
from torch import Tensor

from deployments.sources.cache import cache_dir, require_space
from engine.checkpoint import open_checkpoint
from engine.checkpoint.prepared import FILE, FORMAT
from engine.errors import CheckpointError, SourceError
from engine.quantization.prepare import prepare
from engine.quantization.recipe import Recipe, quantize, save_recipe
from engine.quantization.weight import Weight

LOCK_TIMEOUT_S = 1800.0
Progress = Callable[[int], None]  # products done


def prepared(
    base: Path,
    base_digest: str,
    recipe: Recipe,
    *,
    progress: Progress = lambda done: None,
    cache: Path | None = None,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
) -> Path:
    """The folder of the model at `base` quantized by the recipe, made unless it is there. Of several processes one
    makes it, the others wait. Raises SourceError, CheckpointError and ConfigError; nothing half-made is left behind."""
    target = prepared_folder(base_digest, recipe.digest(), cache=cache)
    if is_prepared(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{target}.lock", timeout=lock_timeout_s):
            if not is_prepared(target):
                _make(base, base_digest, recipe, target, progress)
    except filelock.Timeout:
        raise SourceError(
            f"Another process has been making {target} for {lock_timeout_s:.0f} s: wait for it, or end it."
        ) from None
    except OSError as error:
        raise SourceError(
            f"The quantized model could not be stored in {target}: {error}. Set STAGELINE_CACHE to a folder of your "
            "own."
        ) from error
    return target


def prepared_folder(base_digest: str, recipe_digest: str, *, cache: Path | None = None) -> Path:
    """Where that folder is, or will be."""
    key = hashlib.sha256(f"{base_digest} {recipe_digest} {FORMAT}".encode()).hexdigest()[:32]
    return (cache or cache_dir()) / "prepared" / key


def is_prepared(folder: Path) -> bool:
    """Whether it is there, and whole."""
    return (folder / FILE).exists()


def _make(base: Path, base_digest: str, recipe: Recipe, target: Path, progress: Progress) -> None:
    require_space(target.parent, _size(base), "the quantized model")
    staging = target.with_name(f".{target.name}")
    shutil.rmtree(staging, ignore_errors=True)  # half of it, from an attempt that was killed
    try:
        write_prepared(base, base_digest, recipe, staging, progress)
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_prepared(
    base: Path, base_digest: str, recipe: Recipe, folder: Path, progress: Progress = lambda done: None
) -> None:
    """Fills `folder`, which is new, with the model quantized by the recipe, and the recipe. Raises CheckpointError,
    ConfigError and OSError."""
    done = 0

    def transform(name: str, weight: Weight) -> Weight:
        nonlocal done
        assert isinstance(weight, Tensor)
        found = quantize(name, weight, recipe)
        done += 1
        progress(done)
        return found

    with open_checkpoint(base) as checkpoint:
        if checkpoint.precision is not None:
            raise CheckpointError(f"{base} is quantized already ({checkpoint.precision}): start from its base.")
        prepare(checkpoint, recipe.precision, transform, folder, base_digest)
    save_recipe(recipe, folder)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.glob("*.safetensors")
    return sum(file.stat().st_size for file in files)
