"""The files of a kept result: `result.json`, and each measurement's requests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from deployments.benchmark.agreement import labels
from engine.errors import ConfigError
from loadtest.record import Record
from loadtest.scenario import Scenario

RESULT = "result.json"
DIGITS = 5  # of times in seconds
LARGE = 200_000  # bytes of a file of lines, from which on it is kept compressed
DEFAULTS = {field.name: field.default for field in fields(Record) if field.default is not MISSING}


def make_folder(folder: Path) -> Path:
    """Raises ConfigError where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT).touch()
        (folder / RESULT).unlink()  # of another run, whose figures would stand beside this one's requests
    except OSError as error:
        raise ConfigError(f"{folder}: results cannot be kept there: {error.strerror}.", param="output") from None
    return folder


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    (folder / RESULT).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_result(folder: Path) -> dict[str, Any]:
    """Raises ConfigError."""
    try:
        found: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / RESULT} cannot be read: {error}.") from None
    return found


def scenario_kept(scenario: Scenario) -> dict[str, Any]:
    """With its files by their names alone: where they lie differs from machine to machine."""
    told: dict[str, Any] = scenario.model_dump(mode="json")
    for part, key in (*((one, "texts") for one in told["requests"]), (told["load"], "trace")):
        if part.get(key):
            part[key] = Path(part[key]).name
    return told


def write_requests(path: Path, records: Sequence[Record]) -> None:
    """Compressed lines, of what `line` keeps."""
    text = "".join(json.dumps(line(record), ensure_ascii=False) + "\n" for record in records)
    path.write_bytes(packed(text.encode()))


def line(record: Record) -> dict[str, Any]:
    """What is kept of a request: what is not as in every other one, times to 10 microseconds, labels without the
    probabilities of all the others, and not each gap between tokens, which would be most of a file."""
    told = asdict(record)
    del told["gaps_s"]
    kept = {key: value for key, value in told.items() if key not in DEFAULTS or value != DEFAULTS[key]}
    for key, value in kept.items():
        if isinstance(value, float):
            kept[key] = round(value, DIGITS)
    if record.kind == "classify" and record.text:
        kept["text"] = ", ".join(labels(record.text))
    return kept


def pack(folder: Path) -> None:
    """Compresses what is large in a run's folder, and drops the client's own log."""
    (folder / "locust.log").unlink(missing_ok=True)
    for path in folder.glob("*.jsonl"):
        compressed = path.with_name(path.name + ".gz")
        compressed.unlink(missing_ok=True)  # of another run in the same folder
        if path.stat().st_size > LARGE:
            compressed.write_bytes(packed(path.read_bytes()))
            path.unlink()


def packed(data: bytes) -> bytes:
    """Without the time in its head, so that the same lines make the same file."""
    return gzip.compress(data, mtime=0)
