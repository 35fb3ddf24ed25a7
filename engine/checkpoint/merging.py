"""A model that is stored as what differs from another: both folders put together as one Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path

from engine.checkpoint.safetensors import SafetensorsFile
from engine.errors import CheckpointError

INDEX = "model.safetensors.index.json"


def merge(base: Path, changes: Path, folder: Path) -> None:
    """Fills `folder` with links to the files of both and, last, an index that says which tensor is in which.

    The changes win: their files hide those of the base, their tensors the base's of the same name. Raises
    `CheckpointError` where one of the two has no sound safetensors, and OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    where: dict[str, str] = {}
    # transformers loads the files in the order of their names, whole, and the last one wins: "changes" after "base".
    for kind, source in (("base", base), ("changes", changes)):
        files = sorted(source.glob("*.safetensors"))
        if not files:
            raise CheckpointError(f"{source} has no .safetensors file. Other formats of weights are not loaded.")
        for number, file in enumerate(files):
            name = f"{kind}-{number}.safetensors"
            _link(folder / name, file)
            where |= dict.fromkeys(_names(file), name)
        for path in sorted(source.rglob("*")):
            relative = path.relative_to(source)
            if path.is_file() and path not in files and str(relative) != INDEX:
                _link(folder / relative, path)
    index = {"metadata": {}, "weight_map": dict(sorted(where.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def _link(link: Path, file: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(file.resolve())


def _names(path: Path) -> frozenset[str]:
    file = SafetensorsFile(path)
    try:
        return frozenset(file.names())
    finally:
        file.close()
