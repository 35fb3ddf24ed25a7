"""A profile of this process while it goes on working: what all of its threads compute, by torch's own profiler.

Torch profiles the thread that asks, unless told to take them all; then it may be started and stopped from any, and the
one that computes is not held up by it. The first start of a process takes seconds, in which torch gets ready.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.autograd.profiler import profile

from engine import spans
from engine.errors import Busy, EngineFailed

MOST_BYTES = 512 << 20  # of a trace as torch writes it, some 250 for each operator

_taking = threading.Lock()
_ready = False


@dataclass(frozen=True, slots=True)
class Part:
    """One process's share of a profile: torch's trace (Chrome's JSON, gzipped), and the names of `threads` by the
    system's ids."""

    pid: int
    threads: dict[int, str]
    trace: bytes


def prepare() -> None:
    """Gets torch ready, once for this process, so that several processes can then begin together. Raises Busy."""
    global _ready
    if _ready:
        return
    with _alone():
        profiler = _profiler()
        profiler.__enter__()
        profiler.__exit__(None, None, None)
        _ready = True


def take(seconds: float) -> Part:
    """Profiles for so long. Raises Busy, and EngineFailed for more than `MOST_BYTES`."""
    with _alone():
        profiler = _profiler()
        profiler.__enter__()
        spans.record(True)
        try:
            time.sleep(seconds)
        finally:
            spans.record(False)
            profiler.__exit__(None, None, None)
        names = {thread.native_id: thread.name for thread in threading.enumerate() if thread.native_id is not None}
        return Part(os.getpid(), names, _written(profiler))


@contextmanager
def _alone() -> Iterator[None]:
    """Torch has one profiler for a process."""
    if not _taking.acquire(blocking=False):
        raise Busy("A profile of this replica is being taken already; try again when it is done.")
    try:
        yield
    finally:
        _taking.release()


def _profiler() -> profile:
    # Not `torch.profiler.profile`, which imports torch's compiler when it starts: a step that imports a part of it at
    # that moment finds it half made, and fails.
    everything = torch._C._profiler._ExperimentalConfig(profile_all_threads=True, trace_only=True)
    device = "cuda" if torch.cuda.is_initialized() else None
    return profile(use_kineto=True, use_device=device, experimental_config=everything)


def _written(profiler: profile) -> bytes:
    """Through files, piece by piece: the interpreter is free for others while a piece is compressed."""
    with tempfile.TemporaryDirectory(prefix="stageline-profile-") as folder:
        plain, packed = Path(folder, "trace.json"), Path(folder, "trace.json.gz")
        profiler.export_chrome_trace(str(plain))
        size = plain.stat().st_size
        if size > MOST_BYTES:
            raise EngineFailed(
                f"The profile has {size >> 20} MiB, more than {MOST_BYTES >> 20} MiB: take one of fewer seconds."
            )
        with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target, 1 << 16)
        return packed.read_bytes()
