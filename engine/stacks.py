"""Where each thread of this process is, for whoever looks into one that hangs."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path

MOST_CHARACTERS = 256 << 10


def stacks() -> str:
    """The stacks of all threads, each under its name, the innermost call last. No values: only files, lines, code."""
    threads = {thread.ident: thread for thread in threading.enumerate()}
    parts = []
    for ident, frame in sorted(sys._current_frames().items()):
        thread = threads.get(ident)
        name = "unknown to Python" if thread is None else f"{thread.name} ({thread.native_id})"
        parts.append(f"Thread {name}:\n{''.join(traceback.format_stack(frame))}")
    return "\n".join(parts)[:MOST_CHARACTERS]


def dump(folder: Path, why: str) -> Path:
    """Writes the stacks to a file of their own in a folder; where. Raises OSError."""
    now = datetime.now(UTC)
    path = folder / f"stacks-{os.getpid()}-{now:%Y%m%dT%H%M%S}.txt"
    path.write_text(f"{now.isoformat()} process {os.getpid()}: {why}\n\n{stacks()}", encoding="utf-8")
    return path
