"""Reading training data. Faults are told with file and line."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError

_MAX_FIELD_CHARS = 1 << 20


@dataclass(frozen=True, slots=True)
class LabelledText:
    text: str
    label: str


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text. Raises `ConfigError` if it cannot be read or is empty."""
    lines = _text_of(path).split("\n")  # and not splitlines(), which also cuts at characters within a sentence
    if lines and not lines[-1]:
        lines.pop()
    if not any(line.strip() for line in lines):
        raise ConfigError(f"{path} is empty. Training needs at least one line of text.", param=str(path))
    return [line.removesuffix("\r") for line in lines]


def read_pairs(source: Path, target: Path) -> tuple[list[str], list[str]]:
    """Sentences and their translations, line by line. Raises `ConfigError`."""
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        raise ConfigError(
            f"{source} has {len(sources)} lines, {target} has {len(targets)}. Line n of the one must be the "
            "translation of line n of the other.",
            param=str(target),
        )
    for number, (left, right) in enumerate(zip(sources, targets, strict=True), start=1):
        if not left.strip() or not right.strip():
            empty = target if left.strip() else source
            raise ConfigError(f"{empty}, line {number}: an empty line. Delete it in both files.", param=str(empty))
    return sources, targets


def read_labelled(path: Path) -> list[LabelledText]:
    """A CSV file with a header of two columns, one of them named `text`, the other the label's."""
    csv.field_size_limit(_MAX_FIELD_CHARS)
    reader = csv.reader(_text_of(path).splitlines(keepends=True), strict=True)
    rows: list[LabelledText] = []
    try:
        header = next(reader, None)
        if header is None:
            raise ConfigError(f"{path} is empty. It needs a header line and rows of text,label.", param=str(path))
        names = [name.strip().lower() for name in header]
        if len(names) != 2:
            raise ConfigError(f"{path}, line 1: {len(names)} columns, not two (text,label).", param=str(path))
        if "text" not in names:
            raise ConfigError(
                f"{path}, line 1: the header must name the columns, text and label; it says {','.join(header)[:80]}.",
                param=str(path),
            )
        text_column = names.index("text")
        for row in reader:
            if not row:
                continue
            if len(row) != 2:
                raise ConfigError(
                    f"{path}, line {reader.line_num}: {len(row)} fields, not two (text,label). Put a text with commas "
                    "between quotation marks.",
                    param=str(path),
                )
            text, label = row[text_column], row[1 - text_column].strip()
            if not text.strip() or not label:
                what = "text" if not text.strip() else "label"
                raise ConfigError(f"{path}, line {reader.line_num}: the {what} is empty.", param=str(path))
            rows.append(LabelledText(text, label))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}.", param=str(path)) from None
    if not rows:
        raise ConfigError(f"{path} has a header and no rows. It needs rows of text,label.", param=str(path))
    return rows


def require_known(path: Path, rows: Sequence[LabelledText], labels: Sequence[str]) -> None:
    """Raise `ConfigError` where `path` has labels that training never sees."""
    unknown = sorted({row.label for row in rows} - set(labels))
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise ConfigError(
            f"{path} has labels that the training data does not have ({len(unknown)}): {shown}.", param=str(path)
        )


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.", param=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start}).", param=str(path)) from None
