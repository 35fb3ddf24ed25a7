"""Files of lines, which are kept compressed where they are large."""

from __future__ import annotations

import gzip
from pathlib import Path


def read_lines(path: Path) -> list[str]:
    """Of the file, or else of `path.gz`. Raises FileNotFoundError where there is neither."""
    packed = path.with_name(path.name + ".gz")
    kept = gzip.decompress(packed.read_bytes()) if packed.exists() and not path.exists() else path.read_bytes()
    # Not `splitlines`: texts may have separators of their own.
    return kept.decode().removesuffix("\n").split("\n") if kept else []
