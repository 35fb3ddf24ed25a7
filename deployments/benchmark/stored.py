"""A kept result: `result.json`, each measurement's requests, and table and picture, made from `result.json` alone."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from deployments.benchmark.agreement import labels
from deployments.benchmark.picture import draw
from deployments.benchmark.table import markdown
from engine.errors import ConfigError
from loadtest.record import Record

RESULT = "result.json"
DIGITS = 5  # of times in seconds
DEFAULTS = {field.name: field.default for field in fields(Record) if field.default is not MISSING} | {"gaps_s": []}


def store(folder: Path, result: Mapping[str, Any], requests: Mapping[str, Sequence[Record]]) -> None:
    """Writes all of it. `requests` are each measurement's, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, records in requests.items():
        text = "".join(json.dumps(line(record), ensure_ascii=False) + "\n" for record in records)
        # Without the time in its head, the same requests make the same file.
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    present(folder)


def present(folder: Path) -> None:
    """Table and picture again. Raises ConfigError."""
    result = read_result(folder)
    (folder / "table.md").write_text(markdown(result), encoding="utf-8")
    draw(result, folder / "table.png")


def read_result(folder: Path) -> dict[str, Any]:
    """Raises ConfigError."""
    try:
        found: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / RESULT} cannot be read: {error}.") from None
    return found


def line(record: Record) -> dict[str, Any]:
    """What is kept of a request: what is not as in every other one, times to 10 microseconds, labels without the
    probabilities of all the others."""
    kept = {key: value for key, value in asdict(record).items() if key not in DEFAULTS or value != DEFAULTS[key]}
    for key, value in kept.items():
        if isinstance(value, float):
            kept[key] = round(value, DIGITS)
    if record.kind == "classify" and record.text:
        kept["text"] = ", ".join(labels(record.text))
    return kept
