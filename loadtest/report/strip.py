"""The strip of words above a timeline: what happened when. Words that would run into each other stand in rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtest.report.folder import Mark
from loadtest.report.pictures import LIMIT, plain

LETTERS = 150  # of this size fill the width of the picture
LONGEST = 40


def rows(marks: Sequence[Mark], last: float) -> list[int]:
    """For each mark its row, counted from below: the lowest in which nothing is in the way. `last`: the time at the
    right edge."""
    ends: list[float] = []  # of what stands in each row, as a share of the width
    found = []
    for mark in marks:
        begin, width = _place(mark, last)
        row = next((row for row, end in enumerate(ends) if end <= begin), len(ends))
        ends[row:] = [begin + width, *ends[row + 1 :]]
        found.append(row)
    return found


def draw_marks(panel: Any, marks: Sequence[Mark], last: float) -> None:
    """Words at their times."""
    ordered = sorted(marks, key=lambda mark: mark.at_s)
    placed = rows(ordered, last)
    for mark, row in zip(ordered, placed, strict=True):
        begin, _ = _place(mark, last)
        height = (row + 0.15) / (max(placed) + 1)
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # the lines of other marks pass below it
        panel.text(begin, height, words(mark), transform=panel.transAxes, fontsize=7, color=LIMIT, bbox=ground)
    panel.axis("off")


def strip_height(marks: Sequence[Mark], last: float) -> float:
    """Inches."""
    return 0.17 * (max(rows(sorted(marks, key=lambda mark: mark.at_s), last)) + 1)


def words(mark: Mark) -> str:
    """What is written: not longer than can be read, without what matplotlib takes for mathematics."""
    text = " ".join(mark.what.split())
    return " " + plain(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def _place(mark: Mark, last: float) -> tuple[float, float]:
    """Begin and width as shares of the picture's; words that would run over the right edge begin further left."""
    width = (len(words(mark)) + 1) / LETTERS
    return max(0.0, min(mark.at_s / last, 1 - width)), width
