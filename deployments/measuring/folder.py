"""The folder of a variant: written aside and put in its place whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.quality import FILE
from engine.errors import ConfigError
from engine.quantization.recipe import FILE as RECIPE


def check_out(folder: Path) -> None:
    """Raises ConfigError for a folder that holds something else: it would be replaced."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file: name a folder.", param="out")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).exists() for name in (FILE, RECIPE)):
        raise ConfigError(f"--out {folder} holds something else: name a new folder, or empty it.", param="out")


@contextmanager
def written(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; it becomes `folder`, in the place of an earlier one, unless what fills it raises."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging, earlier = (folder.with_name(f".{folder.name}.{what}") for what in ("partial", "earlier"))
    shutil.rmtree(staging, ignore_errors=True)  # from an attempt that was killed
    try:
        staging.mkdir()
        yield staging
        shutil.rmtree(earlier, ignore_errors=True)
        if folder.exists():
            folder.rename(earlier)
        staging.rename(folder)
    finally:
        if earlier.exists() and not folder.exists():
            earlier.rename(folder)
        for path in (staging, earlier):
            shutil.rmtree(path, ignore_errors=True)
