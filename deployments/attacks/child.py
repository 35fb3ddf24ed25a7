"""A process that walks into traps, one after another, and tells how each ended: a JSON object a line.

It is a process of its own because a trap that works ends or fills it. What it may hold is limited by the kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployments.attacks.case import Case

LIMIT_BYTES = 3 << 30  # what the process may hold beyond what it begins with: a trap that wants it all gets an error


def main() -> None:
    """`python -m deployments.attacks.child GROUP FIRST`: the cases of a group from the one with number FIRST on."""
    from deployments.attacks.groups import cases_of

    limit_memory(LIMIT_BYTES)
    for case in cases_of(sys.argv[1])[int(sys.argv[2]) :]:
        print(json.dumps(walk_into(case)), flush=True)
    os._exit(0)  # traps may have left threads behind


def walk_into(case: Case) -> Mapping[str, object]:
    """How a case ended: the error's type and message ("" for none), seconds, and the most memory in MiB meanwhile."""
    with tempfile.TemporaryDirectory(prefix="stageline-attack-") as folder:
        before = _forget_peak()
        began = time.monotonic()
        error, message = "", ""
        try:
            case.act(Path(folder))
        except BaseException as raised:  # panics of compiled libraries are no Exceptions
            error, message = type(raised).__name__, str(raised)[:300]
        seconds = time.monotonic() - began
        return {
            "case": case.name,
            "error": error,
            "message": message.replace(folder, "..."),
            "seconds": round(seconds, 2),
            "mib": max(0, _status("VmHWM") - before) >> 10,
        }


def judge(case: Case, told: Mapping[str, object], most_s: float) -> list[str]:
    """What is wrong with how a case ended."""
    faults = []
    error = str(told["error"])
    if case.refused and error not in case.refused:
        how = f"ended in {error}: {told['message']}" if error else "was let through"
        faults.append(f"{case.name}: {how}, where {' or '.join(case.refused)} was due")
    if not case.refused and error:
        faults.append(f"{case.name}: refused with {error}: {told['message']}, though it is harmless")
    if float(str(told["seconds"])) > most_s:
        faults.append(f"{case.name}: took {told['seconds']} s")
    if int(str(told["mib"])) > case.most_mib:
        faults.append(f"{case.name}: took {told['mib']} MiB, more than {case.most_mib}")
    return faults


def limit_memory(more_bytes: int) -> None:
    """The kernel refuses this process more than so much beyond what it has. Mapped files do not count."""
    now = _status("VmData") << 10
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = now + more_bytes
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(
            resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def _forget_peak() -> int:
    """Lets the kernel measure the peak anew; what is resident now, in KiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    """A line of /proc/self/status in KiB; 0 where there is none (not Linux)."""
    try:
        lines: Sequence[str] = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


if __name__ == "__main__":
    main()
