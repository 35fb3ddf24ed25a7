"""What monitoring and access control cost, as Markdown, from a kept result alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.benchmark.markdown_table import markdown_table, shown
from deployments.benchmark.origin import told
from deployments.benchmark.overhead_costs import EVERY, Cost, complaints, costs, metrics_share
from deployments.benchmark.ratios import LEAST_ROUNDS, spread
from deployments.benchmark.works import UNITS


def markdown(result: Mapping[str, Any]) -> str:
    """A line a work."""
    rows = []
    for one, every in zip(costs(result), costs(result, EVERY), strict=True):
        users, unit = result["works"][one.work.name]["scenario"]["load"]["users"], UNITS[one.work.figure]
        title = f"{one.work.title}, {users} callers"
        cells = (f"{shown(spread(rates))} {unit}" for rates in (one.off, one.on))
        rows.append((title, *cells, _share(one), _share(every)))
    table = markdown_table(("", "all off", "all on", "share of the speed", "of every request"), rows)
    bounds = "where it is with 95%" if result["rounds"] >= LEAST_ROUNDS else "the extremes"
    against = "".join(f"\n- {one}" for one in complaints(result))
    told_against = f"\n\nWhat speaks against it:\n{against}" if against else ""
    return (
        f"{told(result)} Medians of {result['rounds']} rounds, in brackets {bounds}.\n\n{table}\n\n{_metrics(result)}"
        f"{told_against}\n"
    )


def _share(one: Cost) -> str:
    return f"{one.share:.1%} [{one.low:.1%} to {one.high:.1%}]"


def _metrics(result: Mapping[str, Any]) -> str:
    cost = result["metrics"]
    return (
        f"Metrics, which are always on, take {1e6 * cost['token_s']:.1f} µs of a core for each token, with a step for "
        f"each, and {1e6 * cost['request_s']:.0f} µs for the rest of a request (timed by themselves): "
        f"{metrics_share(result):.2%} of one core at this speed of generation."
    )
