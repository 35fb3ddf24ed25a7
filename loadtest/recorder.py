"""Where the records go: on to the master where there is one, into the run's folder where there is not.

Records travel in messages of our own, in order and before the word that a worker is done, so that none is missing when
the master ends the run.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from locust.env import Environment
from locust.runners import WorkerRunner

from loadtest.record import Record, write_records
from loadtest.run_files import clear

FLUSH_S = 1.0


class Recorder:
    """Of one process. `folder` is None where nothing is to be kept, as on the web page without --results."""

    def __init__(self, environment: Environment, folder: Path | None) -> None:
        self._environment, self._folder = environment, folder
        self._waiting: list[Record] = []
        self._start_s = 0.0

    def begin(self, start_s: float) -> None:
        """A new run, in whose folder nothing of an earlier one is left."""
        self._waiting, self._start_s = [], start_s
        if self._folder is not None:
            clear(self._folder)

    def add(self, record: Record) -> None:
        """Into Locust's own statistics, for its pages and files, and into ours."""
        self._environment.events.request.fire(
            request_type=record.kind,
            name=record.model,
            response_time=_milliseconds(record.end_s, record.sent_s),
            response_length=record.bytes,
            exception=RuntimeError(f"{record.failure}: {record.message}") if record.failure else None,
            context={},
        )
        if record.gaps_s and not record.failure:
            # Not as requests of their own, which would count them twice in the total.
            first = _milliseconds(record.first_s, record.sent_s)
            self._environment.stats.get(record.model, f"{record.kind}, first token").log(first, 0)
        self._waiting.append(record)

    def flush(self) -> None:
        """Passes on what has come. Called every FLUSH_S, and at the end."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        runner = self._environment.runner
        if isinstance(runner, WorkerRunner):
            runner.send_message(
                "records", {"start_s": self._start_s, "records": [asdict(record) for record in waiting]}
            )
        else:
            self.write(waiting)

    def write(self, records: list[Record]) -> None:
        """Adds them to the folder's file."""
        if self._folder is not None:
            write_records(self._folder / "requests.jsonl", records)

    def take(self, data: dict[str, Any]) -> None:
        """A worker's message; one that is late for its run is none of the next one."""
        if data["start_s"] == self._start_s:
            self.write([Record(**record) for record in data["records"]])


def _milliseconds(end_s: float | None, begin_s: float | None) -> float:
    return 1000 * (end_s - begin_s) if end_s is not None and begin_s is not None else 0.0
