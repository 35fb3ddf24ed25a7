"""What a million tokens or sentences cost at a measured rate, for an hour's price that the reader knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.benchmark.markdown_table import markdown_table, number
from deployments.benchmark.table import lines
from deployments.benchmark.works import UNITS

MILLION = 1_000_000
HOUR_S = 3600


def million(rate: float) -> float:
    """Hours of a machine that make a million at `rate` a second: what it costs, for each unit of an hour's price."""
    return MILLION / (rate * HOUR_S)


def cost_table(result: Mapping[str, Any]) -> str:
    """A line for each work that has a rate; "" where none has."""
    rows = [
        (
            f"{line.work.title}, {line.setting}",
            f"a million {UNITS[line.work.figure].removesuffix('/s')}",
            number(million(line.baseline.median)),
            number(million(line.optimized.median)),
        )
        for line in lines(result)
        if not line.work.lower_is_better
    ]
    return markdown_table(("scenario", "cost of", "baseline", "optimized"), rows) if rows else ""
