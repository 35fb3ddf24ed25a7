"""The folder of fetched models.

    <cache>/<kind>/<entry>/files/...      what was fetched, complete and checked
    <cache>/<kind>/<entry>/fetched.json   written last: each file's size, modification time and SHA-256
    <cache>/<kind>/<entry>/staging/...    what is being fetched; resumed by the next attempt
    <cache>/<kind>/<entry>.lock           held while fetching

At a start, a file whose size and modification time are the recorded ones is trusted, so that 100 MB are not hashed
again each time; one that differs is hashed and, if damaged, fetched again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock

from deployments.sizes import format_size
from deployments.sources.digest import hash_file
from engine.errors import SourceError

_MARGIN = 64 << 20  # bytes of disk left free beside what is fetched


def cache_dir() -> Path:
    """`$STAGELINE_CACHE`, or `~/.cache/stageline`."""
    return Path(os.environ.get("STAGELINE_CACHE") or Path.home() / ".cache" / "stageline")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What is known of one fetched file."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One source's place in the cache."""

    folder: Path

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def staging(self) -> Path:
        return self.folder / "staging"

    @property
    def marker(self) -> Path:
        return self.folder / "fetched.json"

    @contextmanager
    def locked(self, timeout_s: float) -> Iterator[None]:
        """Hold the entry against other processes. Raises `SourceError` when another keeps it for `timeout_s`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(f"{self.folder}.lock", timeout=timeout_s):
                yield
        except filelock.Timeout:
            raise SourceError(
                f"Another process has been fetching into {self.folder} for {timeout_s:.0f} s: wait for it, or end it."
            ) from None
        except OSError as error:
            raise SourceError(
                f"The model cache cannot be written: {error}. Set STAGELINE_CACHE to a folder of your own."
            ) from error

    def intact(self, *, verify: bool) -> dict[str, FileRecord] | None:
        """The records of all files, or None where something is missing or damaged. `verify` hashes them all."""
        try:
            raw = json.loads(self.marker.read_text(encoding="utf-8"))
            records = {name: FileRecord(**record) for name, record in raw.items()}
            moved = False
            for name, record in records.items():
                path = self.files / name
                stat = path.stat()
                same_time = stat.st_mtime_ns == record.mtime_ns
                moved |= not same_time
                if stat.st_size != record.size:
                    return None
                if (verify or not same_time) and hash_file(path, hashlib.sha256()) != record.sha256:
                    return None
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        if moved:  # copied with its contents whole: hash it only this once, where the folder may be written
            with suppress(OSError):
                self.record()
        return records or None

    def publish(self) -> None:
        """Make what is staged the entry's files. The marker comes last, so that a half-done change shows."""
        self.marker.unlink(missing_ok=True)
        shutil.rmtree(self.files, ignore_errors=True)
        self.staging.rename(self.files)
        self.record()

    def record(self) -> None:
        """Write the marker for the files as they are."""
        records = {}
        for path in sorted(self.files.rglob("*")):
            if path.is_file():
                stat = path.stat()
                record = FileRecord(stat.st_size, stat.st_mtime_ns, hash_file(path, hashlib.sha256()))
                records[path.relative_to(self.files).as_posix()] = asdict(record)
        partial = self.marker.with_suffix(".tmp")
        partial.write_text(json.dumps(records, indent=1), encoding="utf-8")
        partial.replace(self.marker)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise `SourceError` unless the disk of `folder` (or of what is above it) has `needed` bytes and some to spare."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed + _MARGIN:
        raise SourceError(
            f"The disk is too full for {what}: it needs {format_size(needed + _MARGIN)} in {folder} and "
            f"{format_size(free)} are free. Make room, or set STAGELINE_CACHE to a folder on another disk."
        )
