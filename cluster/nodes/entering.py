"""A process that goes into a network namespace by itself, halfway: when it has fetched what it needs from outside."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from engine.errors import EngineFailed

_CLONE_NEWNET = 0x40000000


def enter(namespace: str) -> None:
    """Move the calling thread into a namespace, and with it all threads and processes that it starts from now on.

    Sockets that are open stay where they are. There is no way back. Raises `EngineFailed` without the right to do so.
    """
    library = ctypes.CDLL(None, use_errno=True)
    with Path("/run/netns", namespace).open("rb") as file:
        if library.setns(file.fileno(), _CLONE_NEWNET):
            raise EngineFailed(f"Entering the network namespace {namespace}: {os.strerror(ctypes.get_errno())}.")
