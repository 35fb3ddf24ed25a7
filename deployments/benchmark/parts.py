"""The parts of the benchmark beside the table: what is kept of each, and how it is read again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deployments.benchmark import faults_table, nodes_table, scaling_table
from deployments.benchmark.stored import RESULT, line, read_result
from loadtest.record import Record

MARKDOWN: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "nodes": nodes_table.markdown,
    "scaling": scaling_table.markdown,
    "faults": faults_table.markdown,
}
"""From a result to its table, by the name under `benchmark` in it."""

LARGE = 200_000  # bytes of a file of lines, from which on it is kept compressed
PAGE = "table.md"


def keep(folder: Path, result: Mapping[str, Any], requests: Mapping[str, Sequence[Record]] | None = None) -> None:
    """Writes the result and its table; `requests` are each measurement's, by name, where no run's folder has them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, records in (requests or {}).items():
        # Without each gap between tokens: they are most of a file, and what is told of them is in the result.
        kept = ({**line(record), "gaps_s": []} for record in records)
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in kept)
        (folder / f"{name}.jsonl.gz").write_bytes(packed(text.encode()))
    (folder / PAGE).write_text(page(folder), encoding="utf-8")


def page(folder: Path) -> str:
    """The table of a kept result. Raises ConfigError."""
    result = read_result(folder)
    return MARKDOWN[result["benchmark"]](result)


def pack(folder: Path) -> None:
    """Compresses what is large in a run's folder, and drops the client's own log."""
    (folder / "locust.log").unlink(missing_ok=True)
    for path in folder.glob("*.jsonl"):
        if path.stat().st_size > LARGE:
            path.with_name(path.name + ".gz").write_bytes(packed(path.read_bytes()))
            path.unlink()


def packed(data: bytes) -> bytes:
    """Without the time in its head, so that the same lines make the same file."""
    return gzip.compress(data, mtime=0)
