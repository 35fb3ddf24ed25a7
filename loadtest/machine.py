"""Where a figure comes from: commit, machine, versions."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
NO_CODE = ("docs", "loadtest/results")  # what a benchmark writes is no change of what was measured


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Date, commit ("+" for uncommitted changes), processor, cores, memory, and versions of Python and `packages`."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": processor(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def cores() -> int:
    """That this process may use: its affinity, and a container's limit."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return found if quota == "max" else max(1, min(found, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return found  # no cgroup v2 here: no limit of that kind


def commit(folder: Path = Path(__file__).parent) -> str:
    """The checkout's commit, or "unknown" where this is none, though it may lie inside another one: an environment with
    Stageline in a project of yours."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.resolve().parent:
            return "unknown"
        changed = git("status", "--porcelain", "--", ":(top)", *(f":(top,exclude){name}" for name in NO_CODE))
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def processor() -> str:
    """The processor's name and the instructions that matter here."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    found = [flag for flag in INSTRUCTIONS if flag in flags]
    return " ".join([facts.get("model name", platform.machine()), *found])
