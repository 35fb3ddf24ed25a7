"""Files of a model are plain files of a sane size, or are not opened: a pipe would be waited for without end, and a
device, or a file of holes, read until memory is full."""

from __future__ import annotations

import stat
from pathlib import Path

from engine.errors import CheckpointError

MAX_TEXT_BYTES = 128 << 20
"""Of tokenizers and configurations. The largest vocabularies take some 40 MB."""


def require_plain(path: Path) -> int:
    """The file's bytes, counted and not read. Raises `CheckpointError` for what is no file, or cannot be looked at."""
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f"{path} is no plain file. Fetch the model again.")
    return found.st_size


def read_plain(path: Path, most: int = MAX_TEXT_BYTES) -> bytes:
    """The file's bytes. Raises `CheckpointError` for what cannot be read or has more than `most`."""
    size = require_plain(path)
    if size > most:
        raise CheckpointError(f"{path} has {size} bytes; more than {most} are not read of such a file. Fetch it again.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """What an operating system's error means for a model."""
    return CheckpointError(f"{path} cannot be read: {error.strerror or error}.")
