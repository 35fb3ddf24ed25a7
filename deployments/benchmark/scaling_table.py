"""What a server did about a load that changes, as Markdown, from a kept result alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deployments.benchmark.markdown_table import NONE, markdown_table, number
from deployments.benchmark.origin import told


def markdown(result: Mapping[str, Any]) -> str:
    """The objective in words, a column for each phase of the load, and when replicas came and went."""
    promises = "\n".join(f"- {promise['words']}" for promise in result["objective"]["promises"])
    return f"{words(result)}\n\n{promises}\n\n{phases(result)}\n\n{came_and_went(result['moves'])}\n"


def words(result: Mapping[str, Any]) -> str:
    """Where, when, and what came of it."""
    failed = sum(result["failed"].values())
    kinds = ", ".join(f"{count} of kind {kind}" for kind, count in result["failed"].items())
    failures = f"{failed} failed ({kinds})" if failed else "none failed"
    answered = ", ".join(f"{count} by {name}" for name, count in result["by_variant"].items())
    objective = "kept" if result["objective"]["kept"] else "not kept"
    client = f" {result['client']['verdict']}" if result["client"]["verdict"] else ""
    return (
        f"{told(result)} {result['scenario']['name']}: {result['requests']} requests, of which {failures}; answered: "
        f"{answered}.{_goodput(result)} Objective {objective}.{client}"
    )


def _goodput(result: Mapping[str, Any]) -> str:
    limits = result["scenario"]["objective"]["within"]
    if not limits or result["goodput"] is None:
        return ""
    named = ", ".join(f"{name.removesuffix('_ms').upper()} within {limit:g} ms" for name, limit in limits.items())
    return f" Goodput ({named}): {result['goodput']['value']:.0%} of all requests."


def phases(result: Mapping[str, Any]) -> str:
    """A column each. Rows that say nothing are left out."""
    found = result["phases"]
    head = ("", *(f"{one['from_s']:g} to {one['until_s']:g} s" for one in found))
    rows: list[tuple[str, ...]] = [("requests", *(str(one["requests"]) for one in found))]
    if any(one["offered_tokens_per_s"] for one in found):
        rows += [
            ("tokens/s asked for", *(number(one["offered_tokens_per_s"]) for one in found)),
            ("tokens/s answered", *(number(one["tokens_per_s"]) for one in found)),
        ]
    rows.append(("refused, failed", *(f"{one['refused']}, {one['failed']}" for one in found)))
    if result["scenario"]["objective"]["within"]:
        rows.append(("within the objective", *(share(one["good"], one["requests"]) for one in found)))
    for key, name in (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT"), ("answer_ms", "other answers")):
        if any(one[key] for one in found):
            rows.append((f"{name} p50 / p99, ms", *(both(one[key]) for one in found)))
    for name in dict.fromkeys(name for one in found for name in (*one["most_replicas"], *one["variants"])):
        cells = (f"{one['variants'].get(name, 0)}, {one['most_replicas'].get(name, 0)}" for one in found)
        rows.append((f"{name}: answers, most replicas", *cells))
    return markdown_table(head, rows)


def share(count: int, of: int) -> str:
    return f"{count / of:.0%}" if of else NONE


def both(found: Mapping[str, float]) -> str:
    return f"{number(found['p50'])} / {number(found['p99'])}" if found else NONE


def came_and_went(moves: Sequence[Mapping[str, Any]]) -> str:
    """Numbers of replicas, by variant."""
    names = dict.fromkeys(move["variant"] for move in moves)
    told = (f"{name} {', '.join(_move(one) for one in moves if one['variant'] == name)}" for name in names)
    return f"Replicas that answer: {'; '.join(told)}." if names else "The server told nothing of its replicas."


def _move(move: Mapping[str, Any]) -> str:
    """(The server is watched from a moment before the load begins.)"""
    return f"{move['replicas']} from {max(0.0, move['at_s']):.0f} s"
