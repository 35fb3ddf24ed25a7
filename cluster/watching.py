"""The watchdogs of processes that Ray runs, and where they write."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import ray

from engine.watchdog import Suspect, Watchdog


def log_folder() -> Path:
    """Where Ray's processes on this node log; the folder for temporary files outside of Ray."""
    if not ray.is_initialized():
        return Path(tempfile.gettempdir())
    context = ray.get_runtime_context()
    return Path(context.get_temp_dir(), context.get_session_name(), "logs")


def watch(name: str, suspects: Sequence[Suspect] = ()) -> Watchdog:
    """A watchdog that is at it, over what is added later too."""
    watchdog = Watchdog(name, log_folder(), list(suspects))
    watchdog.start()
    return watchdog
