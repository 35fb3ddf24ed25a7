"""What is in a run's folder, read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.errors import LoadTestError
from loadtest.lines import read_lines
from loadtest.record import Record, read_records
from loadtest.scenario import Scenario, load_scenario


@dataclass(frozen=True, slots=True)
class Mark:
    """What happened at `at_s` seconds from the start, and went on until `until_s` if that is not None."""

    at_s: float
    until_s: float | None
    what: str


@dataclass(frozen=True, slots=True)
class Run:
    """`about` is `run.json`; `samples` are the lines of `server.jsonl`, as `watch.py` has them."""

    scenario: Scenario
    about: Mapping[str, Any]
    records: tuple[Record, ...]
    samples: tuple[Mapping[str, Any], ...]
    marks: tuple[Mark, ...]

    @property
    def bottleneck(self) -> str:
        """Why figures are the client's own rather than the server's, by the client; empty if they are not."""
        return str(self.about.get("client", {}).get("verdict") or "")

    @property
    def complete(self) -> bool:
        """Whether all was sent that was planned, by the client."""
        return bool(self.about.get("client", {}).get("complete", True))


def read_run(folder: Path) -> Run:
    """Raises LoadTestError for a folder that is none of a run. Samples and marks may be missing."""
    about = _about(folder / "run.json")
    return Run(
        load_scenario(folder / "scenario.yaml"),
        about,
        tuple(read_records(folder / "requests.jsonl")),
        tuple(read_samples(folder)),
        tuple(_mark(line, folder) for line in _lines(folder / "marks.jsonl")),
    )


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(about["start_s"], int | float):
            return dict(about)
        raise ValueError("start_s is no number")
    except FileNotFoundError:
        raise LoadTestError(f"{path}: there is no such file. Give the folder of a run.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise LoadTestError(f"{path}: not what a run tells of itself: {error!r}.") from None


def read_samples(folder: Path) -> list[dict[str, Any]]:
    """The lines of `server.jsonl`; none where the server was not watched."""
    return _lines(folder / "server.jsonl")


def _lines(path: Path) -> list[dict[str, Any]]:
    """A last line that was not written to its end is left out: its writer was killed."""
    try:
        lines = read_lines(path)
    except FileNotFoundError:
        return []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise LoadTestError(f"{path}:{number}: not JSON: {error}.") from None
    return found


def _mark(line: Mapping[str, Any], folder: Path) -> Mark:
    try:
        until = line.get("until_s")
        return Mark(float(line["at_s"]), None if until is None else float(until), str(line["what"]))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise LoadTestError(f"{folder / 'marks.jsonl'}: not a mark: {line}: {error!r}.") from None
