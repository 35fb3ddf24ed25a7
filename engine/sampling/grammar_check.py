"""The engine's side of `grammar_worker`: one process, started when first needed and again whenever it has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.errors import ReplicaLost
from engine.request import GrammarSpec
from engine.sampling.grammar_worker import READY, read_message, write_message

_TOO_LONG = (-signal.SIGPROF, -signal.SIGALRM)
_CRASHED = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL)


@dataclass(frozen=True, slots=True)
class GrammarLimits:
    """What one grammar may cost. `cpu_s` and `memory_bytes` are for compiling, `step_s` for following it one token."""

    source_bytes: int = 64 << 10
    cpu_s: float = 2.0
    memory_bytes: int = 512 << 20
    step_s: float = 0.02
    cached: int = 64
    cached_bytes: int = 64 << 20


class GrammarChecker:
    """Tries grammars in the other process, one at a time. Thread-safe; blocks."""

    def __init__(self, tokenizer_json: str, limits: GrammarLimits) -> None:
        self._tokenizer_json = tokenizer_json
        self._limits = limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def check(self, spec: GrammarSpec) -> str | None:
        """What is wrong with the grammar; None if nothing is. ReplicaLost if the process cannot be had here."""
        message = json.dumps(
            {
                "kind": spec.kind,
                "source": spec.source,
                "cpu_s": self._limits.cpu_s,
                "memory_bytes": self._limits.memory_bytes,
                "step_s": self._limits.step_s,
            }
        )
        with self._lock:
            for _ in range(2):  # the first try may meet a process that was just leaving, having been idle
                code, reply = self._ask(message)
                if reply is not None:
                    error: str | None = json.loads(reply)["error"]
                    return error
                if code in _TOO_LONG:
                    return f"compiling it takes more than {self._limits.cpu_s:g} s; make it smaller"
                if code in _CRASHED:
                    break
        return "it makes the grammar compiler fail; write it in another way"

    def close(self) -> None:
        """End the process, if there is one. A later check starts another."""
        with self._lock:
            self._end()

    def _ask(self, message: str) -> tuple[int | None, str | None]:
        """(None, the reply), or (the status with which the process ended, None)."""
        requests, replies = self._running()
        try:
            write_message(requests, message)
            reply = read_message(replies)
        except BrokenPipeError:
            reply = None
        return (None, reply) if reply is not None else (self._end(), None)

    def _running(self) -> tuple[IO[bytes], IO[bytes]]:
        """The process's input and output; starts it where there is none."""
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None:
            try:
                self._process = self._start()
                self._greet(self._process)
            except OSError as error:
                self._end()
                raise ReplicaLost(f"The process that checks grammars cannot be started: {error}.") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        return subprocess.Popen(
            [sys.executable, "-c", "from engine.sampling.grammar_worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the server, which closes this process's input
        )

    def _greet(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        write_message(process.stdin, self._tokenizer_json)
        if read_message(process.stdout) != READY:
            raise OSError("it ended at once; see its messages in the log")

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        for stream in (process.stdin, process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except BrokenPipeError:
                pass  # what was left in the buffer has no reader any more
        try:
            return process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
