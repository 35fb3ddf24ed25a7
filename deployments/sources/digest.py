"""Checksums of files, by streaming."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

CHUNK = 1 << 20


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Digest:
    """A checksum to hold a file against. "git" is Git's blob id, which a hub has for its small files."""

    kind: Literal["sha256", "git"]
    hex: str

    def hasher(self, size: int) -> Hasher:
        """A fresh hasher for a file of `size` bytes."""
        if self.kind == "sha256":
            return hashlib.sha256()
        return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)

    def matches(self, path: Path) -> bool:
        """Whether a file has this checksum."""
        return hash_file(path, self.hasher(path.stat().st_size)) == self.hex


def hash_file(path: Path, hasher: Hasher) -> str:
    """Hex digest of a file; SHA-256 with `hashlib.sha256()`."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()
