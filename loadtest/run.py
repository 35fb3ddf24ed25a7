"""Runs a scenario: Locust in a process of its own, the server watched beside it, the report at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest.client import key_header
from loadtest.connection import Connections
from loadtest.errors import LoadTestError
from loadtest.machine import commit
from loadtest.plan import refusal
from loadtest.run_files import clear
from loadtest.scenario import Scenario, changed, load_scenario
from loadtest.watch import watch

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
RESULTS = Path(__file__).with_name("results")
SPARE_S = 90.0  # for the client to start, to end, and to draw, beyond the scenario's own time
STOP_S = 20.0  # for the client to write what there is when it is interrupted
POLL_S = 0.2
GIVEN, WATCHED = "given.yaml", "watched.jsonl"  # only while it runs


@dataclass(frozen=True, slots=True)
class Trial:
    """A scenario against a server, into a folder. `command` comes before the client's own, as `ip netns exec NAME`.

    With `ahead` the client does not wait for cores that a server on the same machine computes on, or it would tell of
    its own wait. Linux permits that to root and CAP_SYS_NICE; without, the client's verdict says how late it was.
    """

    scenario: Scenario
    url: str
    folder: Path
    processes: int = 1
    api_key: str = ""
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    ahead: bool = False


def results_folder(scenario: str) -> Path:
    """loadtest/results/<date>-<commit>-<scenario>; with a number where it is taken."""
    name = f"{datetime.now(UTC):%Y-%m-%d}-{commit()}-{scenario}"
    taken = [RESULTS / name, *(RESULTS / f"{name}-{number}" for number in range(2, 1000))]
    return next(one for one in taken if not one.exists())


def run(trial: Trial, console: Console, *, watched: bool = True, whole: bool = True) -> dict[str, Any]:
    """The run's `run.json`. Raises LoadTestError for what cannot be run or written, without a server, and where the
    client did not come to its end, or, if it is to be `whole`, did not send all. A client that is interrupted writes
    what there is."""
    if words := refusal(trial.scenario, trial.processes):
        raise LoadTestError(words)
    key_header(trial.api_key)
    check_server(trial.url)
    try:
        trial.folder.mkdir(parents=True, exist_ok=True)
        clear(trial.folder)
        (trial.folder / GIVEN).write_text(yaml.safe_dump(trial.scenario.model_dump(mode="json")), encoding="utf-8")
    except OSError as error:
        raise LoadTestError(f"{trial.folder}: the results cannot be written there: {error.strerror}.") from None
    began_s = time.time()
    try:
        with _client(trial) as process:
            _wait(process, trial, console, began_s, watched)
    finally:
        (trial.folder / GIVEN).unlink(missing_ok=True)
        _keep_samples(trial.folder, began_s)
    facts = _facts(trial.folder)
    if facts is None:
        raise LoadTestError(f"The client ended with status {process.returncode}: {_last_words(trial.folder)}")
    if whole and not facts["client"]["complete"]:
        raise LoadTestError(facts["client"]["verdict"])
    return facts


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except FileNotFoundError:
        return None


def check_server(url: str) -> None:
    """Raises LoadTestError for an address that is none, and where nobody listens."""
    connections = Connections(url)
    try:
        connections.keep(connections.take())
    except OSError as error:
        raise LoadTestError(f"{url}: no connection: {error}. Is the server running?") from None
    connections.close()


@contextmanager
def _client(trial: Trial) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        *trial.command,
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", trial.url),
        *("--scenario", str((trial.folder / GIVEN).resolve()), "--results", str(trial.folder.resolve()), "--no-report"),
        *("--only-summary", "--stop-timeout", "0", "--exit-code-on-error", "0"),
        *(("--processes", str(trial.processes)) if trial.processes > 1 else ()),
    ]
    environment = {**os.environ, **trial.environment}
    if trial.api_key:
        environment["STAGELINE_API_KEY"] = trial.api_key
    environment["PYTHONPATH"] = os.pathsep.join([str(LOCUSTFILE.parents[1]), environment.get("PYTHONPATH", "")])
    with (trial.folder / "locust.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        if trial.ahead:
            _put_ahead(process.pid)
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def _put_ahead(pid: int) -> None:
    """Priorities would not do: Linux weighs sessions against each other, and the server's is another one."""
    if hasattr(os, "sched_setscheduler"):
        with suppress(PermissionError):
            os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))


def _wait(process: subprocess.Popen[bytes], trial: Trial, console: Console, began_s: float, watched: bool) -> None:
    """Until the client ends. `began_s`: when it was started, as Unix time."""
    scenario = trial.scenario
    count = _Lines(trial.folder / "requests.jsonl")
    ended = threading.Event()
    to = trial.folder / WATCHED
    watching = threading.Thread(target=watch, args=(trial.url, began_s, to, ended, trial.api_key), daemon=True)
    if watched:
        watching.start()
    limit_s = scenario.total_s + scenario.timeout_s + SPARE_S
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[sent]}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task(scenario.name, total=scenario.total_s, sent="")
            while process.poll() is None:
                if (passed := time.time() - began_s) > limit_s:
                    raise LoadTestError(f"The client did not end within {limit_s:.0f} s: {_last_words(trial.folder)}")
                progress.update(bar, completed=passed, sent=f"{count()} answers")
                time.sleep(POLL_S)
    finally:
        ended.set()
        if watched:
            watching.join(STOP_S)


def _keep_samples(folder: Path, began_s: float) -> None:
    """The watch began before the run's start was known, and before the client had cleared the folder."""
    watched, facts = folder / WATCHED, _facts(folder)
    if watched.exists() and facts is not None:
        by_s = began_s - facts["start_s"]
        samples = [json.loads(line) for line in watched.read_text(encoding="utf-8").splitlines()]
        lines = [json.dumps({**one, "at_s": round(one["at_s"] + by_s, 3)}) + "\n" for one in samples]
        (folder / "server.jsonl").write_text("".join(lines), encoding="utf-8")
    watched.unlink(missing_ok=True)


class _Lines:
    """How many lines a growing file has."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._count = path, 0, 0

    def __call__(self) -> int:
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
            self._offset, self._count = self._offset + len(new), self._count + new.count(b"\n")
        return self._count


def _last_words(folder: Path) -> str:
    lines = (folder / "locust.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " / ".join(lines[-5:]) or "it said nothing"


def overridden(name: Path, **changes: Any) -> Scenario:
    """A scenario's file, with some of its keys changed (None: as it is). Raises LoadTestError."""
    return changed(load_scenario(name), name, **{key: value for key, value in changes.items() if value is not None})
