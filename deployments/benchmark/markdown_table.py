"""Tables in Markdown, and figures in them."""

from __future__ import annotations

from collections.abc import Sequence

from deployments.benchmark.ratios import Spread

NONE = "–"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    made = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in made)


def number(value: float) -> str:
    """With as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def shown(one: Spread) -> str:
    """The median and the extremes."""
    return f"{number(one.median)} ({number(one.low)} to {number(one.high)})"
