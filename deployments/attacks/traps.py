"""Has a child process walk into a group of traps; see `child`."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from deployments.attacks.child import judge
from deployments.attacks.groups import cases_of
from deployments.attacks.outcome import Outcome

MOST_S = 15.0  # for a case, on a machine that may be busy
HANGS_S = 60.0  # after which a case is ended; bounds the child's start too


def walk_through(group: str) -> Outcome:
    """All cases of a group. One that hangs or ends the child is a fault; the next child goes on behind it."""
    cases, outcome = cases_of(group), Outcome()
    told: list[dict[str, Any]] = []
    while len(told) < len(cases):
        for line in _answers(group, len(told)):
            outcome.faults += judge(cases[len(told)], line, MOST_S)
            told.append(line)
        if len(told) < len(cases):
            name = cases[len(told)].name
            outcome.faults.append(f"{name}: the process that met it hung or died")
            told.append({"case": name, "error": "none came", "message": "", "seconds": HANGS_S, "mib": 0})
    outcome.seen = {
        "cases": len(cases),
        "refused": sum(bool(one["error"]) for one in told),
        "slowest_s": max((one["seconds"] for one in told), default=0.0),
        "most_mib": max((one["mib"] for one in told), default=0),
        "each": told,
    }
    return outcome


def _answers(group: str, first: int) -> Iterator[dict[str, Any]]:
    """What a child tells of the cases from number `first` on, until it is done, ends, or is silent for too long."""
    command = [sys.executable, "-m", "deployments.attacks.child", group, str(first)]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        lines: queue.Queue[str] = queue.Queue()
        assert child.stdout is not None
        reader = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True)
        reader.start()
        try:
            while line := lines.get(timeout=HANGS_S):
                yield json.loads(line)
        except queue.Empty:
            return
        finally:
            child.kill()
            child.wait(10)


def _read(stream: Any, lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")
