"""The files that a build sees: a folder without what `.dockerignore` leaves out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

Patterns = Sequence[tuple[bool, re.Pattern[str]]]
"""Each line's pattern, and whether it takes files in again (`!`) instead of leaving them out."""


def patterns_of(text: str) -> Patterns:
    """The lines of a `.dockerignore`."""
    found = []
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            found.append((line.startswith("!"), _pattern(line.lstrip("!").strip("/"))))
    return found


def _pattern(glob: str) -> re.Pattern[str]:
    """Matches the path that it names and all below it."""
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]*\])", glob)
    text = "".join(pieces.get(part, part if part.startswith("[") else re.escape(part)) for part in parts)
    return re.compile(f"{text}(?:/.*)?")


def left_out(path: str, patterns: Patterns) -> bool:
    """Whether a build does not see this path, counted from the context's folder. The last line that matches says."""
    out = False
    for back, pattern in patterns:
        if pattern.fullmatch(path):
            out = not back
    return out


def copy(context: Path, source: str, target: Path, patterns: Patterns) -> None:
    """A file, or what is in a folder, as COPY does it. Raises FileNotFoundError where the build does not see it."""
    origin = context / source
    files = sorted(file for file in origin.rglob("*") if file.is_file()) if origin.is_dir() else [origin]
    seen = [file for file in files if not left_out(file.relative_to(context).as_posix(), patterns)]
    if not seen:
        raise FileNotFoundError(f"COPY {source}: .dockerignore leaves it out, or it is not there.")
    for file in seen:
        to = target / file.relative_to(origin) if origin.is_dir() else target
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)
