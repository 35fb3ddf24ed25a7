"""A model as a configuration names it: its source, and perhaps changes to that."""

from __future__ import annotations

from pathlib import Path

from deployments.sources.fetch import fetch
from deployments.sources.merge import merged
from deployments.sources.progress import Progress, silent


def fetch_with_changes(
    source: str, *, sha256: str | None, changes: str | None, progress: Progress = silent, verify: bool = False
) -> Path:
    """Path of the model, fetched and put together unless it is there already; see `fetch` and `merged`, and there for
    what they raise."""
    path = fetch(source, sha256=sha256, progress=progress, verify=verify)
    if changes is None:
        return path
    return merged(path, fetch(changes, progress=progress, verify=verify))
