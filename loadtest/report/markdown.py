"""A report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from loadtest.report.blocks import Block, Heading, Listing, Paragraph, Picture, Table

_SPECIAL = re.compile(r"[\\`*_{}|~]|\](?=[(\[:])")  # a bracket in itself means nothing
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def to_markdown(blocks: Iterable[Block]) -> str:
    """Texts may hold anything, such as what a server answered: it stays text."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def escaped(text: str) -> str:
    """On one line, without meaning for Markdown or HTML."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()).translate(_ENTITIES))


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {escaped(text)}"
        case Paragraph(text, alarm):
            return f"> **{escaped(text)}**" if alarm else escaped(text)
        case Listing(points):
            return "\n".join(f"- {escaped(point)}" for point in points)
        case Table(columns, rows, figures):
            rule = "|".join(["---", *("---:" if figures else "---" for _ in columns[1:])])
            lines = (" | ".join(map(escaped, cells)) for cells in (columns, *rows))
            head, *body = (f"| {line} |" for line in lines)
            return "\n".join([head, f"|{rule}|", *body])
        case Picture(file, caption):
            return f"![{escaped(caption)}]({file})"
