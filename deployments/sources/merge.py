"""A model that is stored as what differs from another: both folders put together as one Hugging Face folder.

    <cache>/merged/<key>/...   links to the files of both, and an index that says which tensor is in which

The folder of changes wins: its files hide those of the base, its tensors the base's of the same name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from deployments.sources.cache import cache_dir
from engine.checkpoint.safetensors import SafetensorsFile
from engine.errors import CheckpointError, SourceError

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_BASE, _CHANGES = "base.safetensors", "changes.safetensors"


def merged(base: Path, changes: Path, *, cache: Path | None = None) -> Path:
    """The folder of a model made of `base` and `changes`; made anew when either changed.

    Raises `SourceError` where one of the two has no model.safetensors or the folder cannot be written.
    """
    for folder in (base, changes):
        if not (folder / _WEIGHTS).is_file():
            raise SourceError(f"{folder} has no {_WEIGHTS}: 'source' and 'changes' are folders that have one.")
    target = (cache or cache_dir()) / "merged" / _key(base, changes)
    if (target / _INDEX).exists():  # written last
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=target.parent))
        try:
            _fill(staging, base, changes)
            shutil.rmtree(target, ignore_errors=True)  # half of it, from an attempt that was killed
            staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        if (target / _INDEX).exists():  # another process was quicker
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


def _fill(folder: Path, base: Path, changes: Path) -> None:
    for source, weights in ((base, _BASE), (changes, _CHANGES)):
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source).as_posix()
            if not path.is_file() or name == _INDEX:
                continue
            link = folder / (weights if name == _WEIGHTS else name)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())
    where = dict.fromkeys(_names(base), _BASE) | dict.fromkeys(_names(changes), _CHANGES)
    total = sum((folder / file).stat().st_size for file in (_BASE, _CHANGES))
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    (folder / _INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def _names(folder: Path) -> frozenset[str]:
    try:
        file = SafetensorsFile(folder / _WEIGHTS)
    except CheckpointError as error:
        raise SourceError(error.message) from error
    try:
        return frozenset(file.names())
    finally:
        file.close()
