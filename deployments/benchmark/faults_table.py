"""What the loss of a node did, as Markdown, from a kept result alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.benchmark.markdown_table import NONE, markdown_table, number
from deployments.benchmark.origin import told

HEAD = (
    "requests due",
    "count",
    "TTFT p50",
    "p99",
    "TPOT p50",
    "p99",
    "longest wait for a first token",
    "longest pause",
)


def markdown(result: Mapping[str, Any]) -> str:
    """In words, then a row for each time."""
    rows = [_row(name, result["windows"][name]) for name in ("before", "during", "after")]
    return f"{words(result)}\n\n{markdown_table(HEAD, rows)}\n"


def words(result: Mapping[str, Any]) -> str:
    """What was done, and what was lost."""
    whole = (
        f"after {result['whole_s'] - result['killed_s']:.1f} s there were {result['replicas']} replicas again"
        if result["whole_s"] is not None
        else f"there were not {result['replicas']} replicas again"
    )
    client = f" {result['client']['verdict']}" if result["client"]["verdict"] else ""
    return (
        f"{told(result)} {result['model']}:{result['variant']}, {result['replicas']} replicas on {result['nodes']} "
        f"nodes that share the cores. {result['node']} was killed {result['killed_s']:.0f} s after the start, with "
        f"{result['under_way']} requests under way ({result['resumed']:.0f} streams went on elsewhere); {whole}. "
        f"**{lost(result)}**{client}"
    )


def lost(result: Mapping[str, Any]) -> str:
    """The line that counts."""
    count, wrong = len(result["lost"]), len(result["wrong_lengths"])
    lengths = "all of the length that was asked for" if not wrong else f"{wrong} of another length than asked"
    return f"Of {result['requests']} requests {count or 'none'} {'were' if count > 1 else 'was'} lost, {lengths}."


def _row(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        {"before": "before", "during": "until all replicas were back", "after": "after"}[name],
        str(found["requests"]),
        *(
            f"{number(found[key][share])} ms" if found[key] else NONE
            for key in ("ttft_ms", "tpot_ms")
            for share in ("p50", "p99")
        ),
        f"{found['longest_first_s']:.1f} s",
        f"{found['longest_pause_s']:.1f} s",
    )
