"""Kubernetes' quantities: "500m" of a core, "4Gi" of memory."""

from __future__ import annotations

import re
from typing import Any

_SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0} | {
    f"{prefix}{ending}": float(base) ** power
    for power, prefix in enumerate("kMGTPE", start=1)
    for ending, base in (("", 1000), ("i", 1024))
}
_SUFFIXES["Ki"] = _SUFFIXES.pop("ki")
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d+)|([A-Za-z]*))\s*")


def parse_quantity(value: Any) -> float | None:
    """Its number, of cores or bytes; None for what is no quantity."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    number, exponent, suffix = match.groups()
    if exponent:
        return float(number + exponent)
    factor = _SUFFIXES.get(suffix or "")
    return None if factor is None else float(number) * factor


def format_memory(bytes_: float) -> str:
    """In whole MiB, or GiB where that comes out even."""
    mebi = max(1, round(bytes_ / (1 << 20)))
    return f"{mebi // 1024}Gi" if mebi % 1024 == 0 else f"{mebi}Mi"
