"""One measurement by the load harness: a scenario against a server, its requests' records back."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from loadtest.record import Record, read_records
from loadtest.run import Trial, run
from loadtest.scenario import Scenario
from loadtest.workload import ask


@dataclass(frozen=True, slots=True)
class Measured:
    """`client` tells how the client itself fared (`run.json`)."""

    records: list[Record]
    client: dict[str, Any]


def measure(scenario: Scenario, url: str, *, api_key: str = "", command: tuple[str, ...] = ()) -> Measured:
    """`command` comes before the client's own, as `taskset`. Raises LoadTestError where the client did not come to its
    end."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(scenario, url, Path(folder), api_key=api_key, command=command, ahead=True)
        facts = run(trial, Console(quiet=True), watched=False)
        return Measured(read_records(Path(folder) / "requests.jsonl"), facts["client"])


def questions(scenario: Scenario, records: list[Record]) -> dict[int, str]:
    """What each request asked, by its number: texts, and for a generator the prompt."""
    return {record.number: ask(scenario, record.number).body.decode() for record in records}
