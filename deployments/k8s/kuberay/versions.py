"""Which Ray a manifest says that it runs."""

from __future__ import annotations

import re
from typing import Any


def version(text: Any) -> tuple[int, ...] | None:
    """(2, 60, 0) of "2.60.0"; None for what is no version."""
    match = re.fullmatch(r"v?(\d+(?:\.\d+)*)([-+.].*)?", str(text or ""))
    return None if match is None else tuple(int(part) for part in match[1].split("."))


def at_least(text: Any, least: str) -> bool:
    """Whether it is that version or a newer one; false where it says none."""
    have, need = version(text), version(least)
    return have is not None and need is not None and have + (0,) * (len(need) - len(have)) >= need
