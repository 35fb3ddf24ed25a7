"""The other end of a worker: starts it, asks it, ends it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from engine.errors import EngineFailed

ANSWER_TIMEOUT_S = 300.0
END_S = 30.0  # for a worker to end what it started

Start = Callable[..., "subprocess.Popen[Any]"]


@dataclass(frozen=True, slots=True)
class Contender:
    """A running worker; `facts` are what it said of itself after loading."""

    process: subprocess.Popen[str]
    log: IO[bytes]
    facts: dict[str, Any]

    def run(self, **command: Any) -> dict[str, Any]:
        """One measurement. Raises EngineFailed when the worker dies or says nothing for too long."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return _answer(self.process, self.log)


def contender(
    kind: str, path: Path, options: dict[str, Any], start: Start = subprocess.Popen
) -> AbstractContextManager[Contender]:
    """A worker of that kind (see `worker.py`) with the model loaded; ended on leaving. `start` is called as `Popen`."""
    return _started([sys.executable, "-m", "deployments.bench.worker", kind, str(path), json.dumps(options)], start)


def peer(python: Path, kind: str, path: Path, options: dict[str, Any]) -> AbstractContextManager[Contender]:
    """The same for a peer (see `peers.py`), run by the Python of the environment that has it."""
    script = Path(__file__).with_name("peers.py")
    return _started([str(python), str(script), kind, str(path), json.dumps(options)])


@contextmanager
def _started(command: list[str], start: Start = subprocess.Popen) -> Iterator[Contender]:
    with tempfile.TemporaryFile() as log:
        process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield Contender(process, log, _answer(process, log))
        finally:
            try:
                process.communicate(timeout=END_S)  # it ends when its input does
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _answer(process: subprocess.Popen[str], log: IO[bytes]) -> dict[str, Any]:
    watch = threading.Timer(ANSWER_TIMEOUT_S, process.kill)
    watch.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
    finally:
        watch.cancel()
    if not line:
        log.seek(0)
        last = log.read().decode(errors="replace").strip().splitlines()[-3:]
        raise EngineFailed("a benchmark's process ended: " + " / ".join(last))
    answer: dict[str, Any] = json.loads(line)
    return answer
