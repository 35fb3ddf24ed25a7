"""What a model was made with: versions, commit, class of machine."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("torch", "transformers", "ray", "sentencepiece", "sacrebleu")


def origin() -> dict[str, Any]:
    """As it is now: ask before the training, while the source is what is imported. What is missing is left out."""
    return {
        **({"commit": commit} if (commit := _commit()) else {}),
        "python": platform.python_version(),
        **{name: version for name in _PACKAGES if (version := _version(name))},
        "machine": machine_class(),
    }


def machine_class() -> str:
    """Processor and cores, or the GPU; nothing that tells one machine from another of its kind."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    units = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} CPU ({units}), {torch.get_num_threads()} threads"


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
