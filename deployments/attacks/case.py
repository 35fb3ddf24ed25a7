"""One hostile file or program, and how it must end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Case:
    """`act` builds the trap in the empty folder it is given, and walks into it.

    It must raise one of the error types in `refused`, by name; with none there it must come back, which shows that the
    trap's harmless likeness is let through. `most_mib` is what it may take of memory meanwhile.
    """

    name: str
    act: Callable[[Path], Any]
    refused: tuple[str, ...] = ("CheckpointError",)
    most_mib: int = 256
