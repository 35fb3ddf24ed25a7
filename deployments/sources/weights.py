"""One digest for what decides a model's weights, so that what was measured of them is not believed of others.

<cache>/digests/<key>   the SHA-256 of a file, by its path, size and modification time
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from deployments.sources.cache import cache_dir
from deployments.sources.digest import hash_file
from engine.errors import SourceError


def weights_digest(path: Path, *, cache: Path | None = None) -> str:
    """Of a file its SHA-256; of a folder one over its config.json and safetensors, whatever these are called, whatever
    else lies there, and wherever it lies. A file is hashed once, until it changes. Raises SourceError where one cannot
    be read."""
    folder = (cache or cache_dir()) / "digests"
    try:
        if path.is_file():
            return _file_digest(path, folder)
        weights = sorted(_file_digest(file, folder) for file in path.glob("*.safetensors"))
        config = [_file_digest(file, folder) for file in path.glob("config.json")]
        return hashlib.sha256("\n".join([*config, *weights]).encode()).hexdigest()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None


def _file_digest(path: Path, folder: Path) -> str:
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()}\n{stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    kept = folder / key
    with suppress(OSError):
        known = kept.read_text(encoding="ascii")
        if len(known) == 64:
            return known
    found = hash_file(path, hashlib.sha256())
    with suppress(OSError):  # a cache that cannot be written only costs time
        folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(found)
        Path(partial).replace(kept)
    return found
