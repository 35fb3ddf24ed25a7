"""What one attack came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Outcome:
    """`seen` holds what was measured, in JSON's types; `faults` what must not have happened, in words. `skipped` says
    why an attack was not made at all."""

    seen: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    skipped: str | None = None

    def check(self, holds: bool, fault: str) -> None:
        """Notes `fault` unless `holds`."""
        if not holds:
            self.faults.append(fault)

    def merge(self, other: Outcome) -> None:
        """Takes over what another one found."""
        self.seen |= other.seen
        self.faults += other.faults

    @property
    def verdict(self) -> str:
        return "skipped" if self.skipped else "FAILED" if self.faults else "held"
