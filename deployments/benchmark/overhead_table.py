"""What monitoring and access control cost, as Markdown, from a kept result alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.benchmark.markdown_table import markdown_table, shown
from deployments.benchmark.origin import told
from deployments.benchmark.overhead_costs import EVERY, OFF, ON, complaints, costs, metrics_share
from deployments.benchmark.ratios import LEAST_ROUNDS, Ratio, spread
from deployments.benchmark.short_turns import TURN_S

HEADER = ("", "all off", "all on", "share of the speed", "by the processor's time", "of every request", "by its time")


def markdown(result: Mapping[str, Any]) -> str:
    """A line a work."""
    rows = []
    for one in costs(result):
        users = result["works"][one.work.name]["scenario"]["load"]["users"]
        rates = (f"{shown(spread(one.rates[name]))}/s" for name in (OFF, ON))
        shares = (_share(found) for name in (ON, EVERY) for found in (one.speed(name), one.processor(name)))
        rows.append((f"{one.work.title}, {users} callers", *rates, *shares))
    bounds = "where it is with 95%" if result["rounds"] >= LEAST_ROUNDS else "the extremes"
    against = "".join(f"\n- {one}" for one in complaints(result))
    told_against = f"\n\nWhat speaks against it:\n{against}" if against else ""
    return (
        f"{told(result)} Answers a second, in turns of {TURN_S} s and what was under way then; of each server "
        f"{result['seconds']:g} s for each line of a round. Medians of {result['rounds']} rounds, in brackets "
        f"{bounds}.\n\n"
        f"{markdown_table(HEADER, rows)}\n\n{_metrics(result)}{told_against}\n"
    )


def _share(one: Ratio) -> str:
    return f"{one.value:.1%} [{one.low:.1%} to {one.high:.1%}]"


def _metrics(result: Mapping[str, Any]) -> str:
    cost = result["metrics"]
    return (
        f"Metrics, which are always on, take {1e6 * cost['token_s']:.1f} µs of a core for each token, with a step for "
        f"each, and {1e6 * cost['request_s']:.0f} µs for the rest of a request (timed by themselves): "
        f"{metrics_share(result):.2%} of one core at this speed of generation."
    )
