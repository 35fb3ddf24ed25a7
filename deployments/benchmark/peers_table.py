"""Other servers with OpenAI's API beside Stageline, as Markdown, from a kept result alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.benchmark.asking import BASELINE, OPTIMIZED
from deployments.benchmark.markdown_table import markdown_table, number, shown
from deployments.benchmark.ratios import ratio, spread
from deployments.benchmark.table import agreed, samples, times
from deployments.benchmark.works import WORKS

HEAD = (
    "server",
    "callers",
    "prompt tokens",
    "tokens/s",
    "Stageline: callers",
    "prompt tokens",
    "tokens/s",
    "Stageline's rate over the peer's [interval]",
    "the peer's answers against the baseline's",
)


def markdown(result: Mapping[str, Any]) -> str:
    """What each peer is and how it was run, then a row for each; empty without peers."""
    rows = cells(result)
    if not rows:
        return ""
    told = "\n".join(f"- {_about(name, one, result)}" for name, one in result["peers"].items())
    return f"The same generation by other servers, in the same rounds:\n\n{told}\n\n{markdown_table(HEAD, rows)}\n"


def _about(name: str, one: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    version = f" {one['version']}" if one["version"] else ""
    if one["url"]:
        return f"**{name}**{version}: {one['title']}; it ran already, with whatever model it has."
    variants = ", ".join(next(iter(result["works"].values()))["servers"][OPTIMIZED]["variants"])
    return (
        f"**{name}**{version}: {one['title']}; with the weights as {one['file']} has them, of which Stageline's "
        f"{variants} is made, and {result['threads']} threads. `{one['command']}`"
    )


def cells(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each peer and work, as `HEAD` has them."""
    rows: list[tuple[str, ...]] = []
    for work in WORKS:
        found = result["works"].get(work.name)
        for name, server in (found["servers"] if found else {}).items():
            if name not in (BASELINE, OPTIMIZED):
                theirs, ours = samples(found, name, work.figure), samples(found, OPTIMIZED, work.figure)
                better = ratio(theirs, ours, lower_is_better=work.lower_is_better)
                sides = [
                    (str(found["servers"][one]["callers"]), _prompt(found, one), shown(spread(rates)))
                    for one, rates in ((name, theirs), (OPTIMIZED, ours))
                ]
                rows.append((name, *sides[0], *sides[1], times(better), agreed(server["agreement"])))
    return rows


def _prompt(found: Mapping[str, Any], server: str) -> str:
    """Tokens of a prompt, by the server's own count."""
    return number(spread(samples(found, server, "prompt_tokens")).median)
