"""Where a figure comes from: commit and machine."""

from __future__ import annotations

from typing import Any

from cluster.node import available_cores
from loadtest.machine import machine


def provenance() -> dict[str, Any]:
    """Date, commit ("+" for uncommitted changes), processor, cores, memory and versions."""
    return {**machine(["torch"]), "cores": available_cores()}
