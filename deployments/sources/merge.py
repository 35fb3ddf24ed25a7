"""The folder of a model that is stored as what differs from another, kept in the cache.

<cache>/merged/<key>/...   see `engine.checkpoint.merging`
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from deployments.sources.cache import cache_dir
from engine.checkpoint.merging import INDEX, merge
from engine.errors import CheckpointError, SourceError


def merged(base: Path, changes: Path, *, cache: Path | None = None) -> Path:
    """The folder of a model made of `base` and `changes`; made anew when either changed.

    Raises `SourceError` where one of the two has no safetensors or the folder cannot be written.
    """
    target = (cache or cache_dir()) / "merged" / _key(base, changes)
    if (target / INDEX).exists():  # written last
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=target.parent))
        try:
            merge(base, changes, staging)
            shutil.rmtree(target, ignore_errors=True)  # half of it, from an attempt that was killed
            staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except CheckpointError as error:
        raise SourceError(f"'source' and 'changes' cannot be put together: {error.message}") from error
    except OSError as error:
        if (target / INDEX).exists():  # another process was quicker
            return target
        raise SourceError(f"The model could not be put together in {target}: {error}.") from error
    return target


def _key(base: Path, changes: Path) -> str:
    """Differs as soon as a file of either folder does."""
    key = hashlib.sha256()
    for folder in (base, changes):
        key.update(f"{folder.resolve()}\n".encode())
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                stat = path.stat()
                key.update(f"{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return key.hexdigest()[:32]
