"""A run's figures in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.report import Report
from loadtest.report.blocks import Table as Block
from loadtest.report.tables import counts, latencies


def show(report: Report, console: Console) -> None:
    """What was promised and kept, rates, latencies."""
    for block in (counts(report.summary), *latencies(report.summary)):
        console.print(_table(block))
    for promise in report.verdict.promises:
        console.print(Text(promise.words, "green" if promise.kept else "red"))


def alarm(words: str, console: Console) -> None:
    """What must not be overlooked; nothing where there are no words."""
    if words:
        console.print(Text(words, "bold red"))


def _table(block: Block) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(block.columns):
        table.add_column(Text(column), justify="right" if index and block.figures else "left")
    for row in block.rows:
        # The intervals are in the report: eight columns with them fit no terminal.
        table.add_row(*(Text(cell.partition(" [")[0]) for cell in row))
    return table
