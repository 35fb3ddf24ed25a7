"""The table in a terminal of 80 columns: medians and ratios, and what else there is to say of each line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from deployments.benchmark import peers_table
from deployments.benchmark.markdown_table import number
from deployments.benchmark.table import lines
from deployments.benchmark.works import UNITS


def rich_tables(result: Mapping[str, Any]) -> list[Table]:
    """The article's, then the peers' where there are any."""
    table = Table("", "article", "baseline", "optimized", "ratio [interval]", box=SIMPLE_HEAD, pad_edge=False)
    for line in lines(result):
        claim, better = line.work.article, line.ratio
        told = "" if claim is None else f"{claim.baseline:g}, {claim.optimized:g}: {claim.ratio:g}x"
        here = (number(one.median) for one in (line.baseline, line.optimized))
        ratio = f"{number(better.value)}x [{number(better.low)} to {number(better.high)}]"
        table.add_row(f"{line.work.name}, {UNITS[line.work.figure]}", told, *here, ratio)
    tables = [table]
    if rows := peers_table.cells(result):
        peers = Table(
            "server", "callers", "tokens/s", "Stageline", "over it [interval]", box=SIMPLE_HEAD, pad_edge=False
        )
        for name, callers, _, theirs, _, _, ours, over, _ in rows:
            peers.add_row(name, callers, theirs, ours, over)
        tables.append(peers)
    return tables


def notes(result: Mapping[str, Any]) -> list[str]:
    """What the tables leave out."""
    found = []
    for line in lines(result):
        _, _, _, _, baseline, optimized, _, _, quality = line.cells()
        found.append(f"{line.work.name}: {line.setting}; {baseline} against {optimized}; {quality}")
    return found
