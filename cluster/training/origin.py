"""What a model was made with: versions, commit, class of machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("torch", "transformers", "ray", "sentencepiece", "sacrebleu")


def origin(seconds: float) -> dict[str, Any]:
    """`seconds` is the training's duration. A missing package or commit is left out."""
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: version for name in _PACKAGES if (version := _version(name))},
        "machine": machine_class(),
        "hours": round(seconds / 3600, 2),
    }


def machine_class() -> str:
    """Processor and cores, or the GPU; nothing that tells one machine from another of its kind."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    bf16 = ", AMX" if _has_amx() else ""
    return f"{platform.machine()} CPU{bf16}, {len(os.sched_getaffinity(0))} cores used"


def _has_amx() -> bool:
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of the source tree this runs from; a `+` behind it tells of changes that were not committed."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None if told.returncode == 0 else None
