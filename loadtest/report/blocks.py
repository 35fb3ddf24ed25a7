"""What a report is made of, before it is Markdown or HTML. All texts are plain: whoever renders them escapes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heading:
    """A section's; `level` 1 is the report's own."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """`alarm`: it must not be overlooked."""

    text: str
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """Points, one below the other."""

    points: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The first column is words; the others are, too, unless they are figures."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    figures: bool = True


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG beside the report."""

    file: str
    caption: str


Block = Heading | Paragraph | Listing | Table | Picture
