"""Changes to the file of keys: whole at any moment, readable by its owner only."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from deployments.access.keys import KeySection, read_sections
from engine.errors import ConfigError

HEADER = "# Keys of Stageline's API, as their SHA-256. Made by `stageline keys`; may be edited by hand.\n"

Sections = tuple[KeySection, ...]


def change(path: Path, how: Callable[[Sections], Sections]) -> None:
    """Replaces the file by what `how` makes of its keys; there need not be one yet. Who reads it meanwhile sees the old
    file or the new one. Comments do not survive. Raises ConfigError."""
    path = path.resolve()  # what a link points to is what changes
    try:
        with _alone(path.parent):
            before = read_sections(path) if path.exists() else ()
            _replace(path, _text(how(before)))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}.") from error


def _text(sections: Sections) -> str:
    keys = [section.model_dump(mode="python", exclude_defaults=True) for section in sections]
    for key in keys:
        for name in ("models", "scopes"):
            if name in key:
                key[name] = list(key[name])
    return HEADER + yaml.safe_dump({"keys": keys}, sort_keys=False, allow_unicode=True, width=120)


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # readable by its owner only
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two commands at once would each write the file without the other's key."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
