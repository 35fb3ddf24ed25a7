"""A measurement that is kept while it is taken: what was measured is there whatever becomes of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployments.benchmark.pages import present
from deployments.benchmark.stored import make_folder, write_requests, write_result
from loadtest.record import Record


class Kept:
    """A folder, made now, for a result of this origin. Raises ConfigError where it cannot be written to."""

    def __init__(self, folder: Path, origin: Mapping[str, Any]) -> None:
        self.folder = make_folder(folder)
        self._origin = origin

    def requests(self, name: str, records: Sequence[Record]) -> None:
        """Of one measurement."""
        write_requests(self.folder / f"{name}.jsonl.gz", records)

    def result(self, result: Mapping[str, Any]) -> None:
        """With its table and picture; instead of an earlier one. It says itself whether it is `complete`."""
        write_result(self.folder, {**self._origin, **result})
        present(self.folder)
