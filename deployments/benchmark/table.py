"""The article's table with this run's figures: from a result to lines, and from lines to Markdown or the terminal.
Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from deployments.benchmark.ratios import Ratio, Spread, ratio, spread
from deployments.benchmark.works import UNITS, WORKS, Work

BASELINE, OPTIMIZED = "baseline", "optimized"
HEAD = ("scenario", "article: baseline", "optimized", "ratio", "here: baseline", "optimized", "ratio [95%]", "quality")
PEERS_HEAD = ("server", "callers", "tokens/s", "Stageline", "Stageline is faster by [95%]")


@dataclass(frozen=True, slots=True)
class Line:
    """A line's figures; `tails` are the 99th percentiles of latencies, in ms."""

    work: Work
    setting: str
    baseline: Spread
    optimized: Spread
    ratio: Ratio
    tails: tuple[float, float] | None
    quality: str

    def cells(self) -> tuple[str, ...]:
        """As `HEAD` has them."""
        unit, claim = UNITS[self.work.figure], self.work.article
        told = ("", "", "") if claim is None else (
            f"{claim.baseline:g} {unit}", f"{claim.optimized:g} {unit}", f"{claim.ratio:g}x"
        )  # fmt: skip
        here = [f"{shown(one)} {unit}" for one in (self.baseline, self.optimized)]
        if self.tails is not None:
            here = [f"{cell}, p99 {number(tail)}" for cell, tail in zip(here, self.tails, strict=True)]
        return (f"{self.work.title}, {self.setting}", *told, *here, times(self.ratio), self.quality)


def lines(result: Mapping[str, Any]) -> list[Line]:
    return [_line(work, result["works"][work.name]) for work in WORKS if work.name in result["works"]]


def _line(work: Work, found: Mapping[str, Any]) -> Line:
    theirs, ours = (samples(found, server, work.figure) for server in (BASELINE, OPTIMIZED))
    tails = None
    if work.lower_is_better:
        tails = (spread(samples(found, BASELINE, "p99_ms")).median, spread(samples(found, OPTIMIZED, "p99_ms")).median)
    return Line(
        work,
        setting(work, found),
        spread(theirs),
        spread(ours),
        ratio(theirs, ours, lower_is_better=work.lower_is_better),
        tails,
        quality(found["agreement"], found["quality"]),
    )


def samples(found: Mapping[str, Any], server: str, figure: str) -> list[float]:
    """A server's figure in each round."""
    return [float(one["figures"][figure]) for one in found["servers"][server]["samples"]]


def setting(work: Work, found: Mapping[str, Any]) -> str:
    """How it was asked."""
    users = found["scenario"]["load"]["users"]
    callers = f"{users} caller{'s' if users > 1 else ''}"
    if (fewer := found["servers"][BASELINE]["callers"]) != users:
        callers += f" ({fewer} of the baseline)"
    if work.task != "generation":
        return callers
    return f"{callers}, {found['scenario']['requests'][0]['output_tokens']} tokens each"


def quality(agreement: Mapping[str, float], measured: Sequence[Mapping[str, Any]]) -> str:
    """What this run's answers show, and what was measured before."""
    parts = []
    if "same_labels" in agreement:
        parts.append(f"same label for {agreement['same_labels']:.1%} of {agreement['count']} texts")
    if "bleu" in agreement:
        parts.append(
            f"against the baseline's {agreement['count']} translations: {agreement['bleu']:.1f} BLEU, "
            f"{agreement['chrf']:.1f} chrF, {agreement['same_texts']:.0%} the same"
        )
    if "same_words" in agreement:
        parts.append(
            f"{agreement['same_texts']:.0%} of {agreement['count']} answers the same to the last word, "
            f"{agreement['same_words']:.0%} of the words before the first other one"
        )
    names = {"bleu": "BLEU"}
    parts += [
        f"{one['variant']}: {names.get(one['measure'], one['measure'])} {one['score']:.4g}, fp32 {one['fp32']:.4g} "
        f"({str(one['date'])[:10]})"
        for one in measured
    ]
    return "; ".join(parts)


def shown(one: Spread) -> str:
    """The median and the extremes."""
    return f"{number(one.median)} ({number(one.low)} to {number(one.high)})"


def number(value: float) -> str:
    """With as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(one: Ratio) -> str:
    return f"{one.value:.2f}x [{one.low:.2f} to {one.high:.2f}]"


def peer_cells(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each server that is neither the baseline nor Stageline, as `PEERS_HEAD` has them."""
    rows: list[tuple[str, ...]] = []
    for work in WORKS:
        found = result["works"].get(work.name)
        for name, server in (found["servers"] if found else {}).items():
            if name not in (BASELINE, OPTIMIZED):
                theirs, ours = samples(found, name, work.figure), samples(found, OPTIMIZED, work.figure)
                better = ratio(theirs, ours, lower_is_better=work.lower_is_better)
                rows.append((name, str(server["callers"]), shown(spread(theirs)), shown(spread(ours)), times(better)))
    return rows


def complaints(result: Mapping[str, Any]) -> list[str]:
    """Why the table does not show what it should: ratios under the article's, requests that failed, other lengths."""
    found = []
    for line in lines(result):
        claim = line.work.article
        if claim is not None and line.ratio.value <= claim.ratio:
            found.append(f"{line.work.name}: {line.ratio.value:.2f}x is not above the article's {claim.ratio:g}x.")
    for name, work in result["works"].items():
        if work["other_prompts"]:
            found.append(f"{name}: {work['other_prompts']} requests were not as many tokens to both.")
        for server, one in work["servers"].items():
            found += [f"{name}, {server}: {why}" for why in _complaints(work, one["samples"])]
    return found


def _complaints(work: Mapping[str, Any], taken: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    if failed := sum(one["figures"]["failed"] for one in taken):
        kinds = sorted({kind for one in taken for kind in one["figures"]["failures"]})
        found.append(f"{failed} requests failed ({', '.join(kinds)}).")
    (asked,) = work["scenario"]["requests"]
    if asked["kind"] == "completions":
        wanted = asked["output_tokens"]
        got = {count for one in taken for count in one["figures"]["output_tokens"]}
        if got != {wanted}:
            found.append(f"answers of {min(got)} to {max(got)} tokens, not of {wanted}.")
    return found


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    made = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in made)


def markdown(result: Mapping[str, Any]) -> str:
    """Both tables, with where the figures come from."""
    text = [f"{origin(result)}\n", markdown_table(HEAD, [line.cells() for line in lines(result)])]
    if rows := peer_cells(result):
        text += ["\nThe same generation by other servers, in the same run:\n", markdown_table(PEERS_HEAD, rows)]
    return "\n".join(text) + "\n"


def origin(result: Mapping[str, Any]) -> str:
    """Where, when, of what."""
    versions = ", ".join(f"{name} {result[name]}" for name in ("torch", "transformers", "ray") if name in result)
    return (
        f"{result['cores']} cores of {result['processor']}, {result['memory_gib']} GiB, {versions}; commit "
        f"{result['commit']}, {result['date'][:10]}; medians of {result['rounds']} alternating rounds, in brackets the "
        f"extremes. Threads: {threads(result)}."
    )


def threads(result: Mapping[str, Any]) -> str:
    """Of the servers, and of the baseline in each work: it takes as many as it is fastest with."""
    works = result["works"].items()
    told = {name: work["servers"][BASELINE]["threads"] or "unknown" for name, work in works}
    same = len(set(told.values())) == 1
    baseline = (
        str(next(iter(told.values()))) if same else ", ".join(f"{count} for {name}" for name, count in told.items())
    )
    return f"{result['threads']}; the baseline's (as many as it is fastest with): {baseline}"


def rich_tables(result: Mapping[str, Any]) -> list[Table]:
    """The same for a terminal of 80 columns: medians and ratios. The rest is in `notes`."""
    table = Table("", "article", "baseline", "optimized", "ratio [95%]", box=SIMPLE_HEAD, pad_edge=False)
    for line in lines(result):
        claim, better = line.work.article, line.ratio
        told = "" if claim is None else f"{claim.baseline:g}, {claim.optimized:g}: {claim.ratio:g}x"
        here = (number(one.median) for one in (line.baseline, line.optimized))
        ours = f"{number(better.value)}x [{number(better.low)} to {number(better.high)}]"
        table.add_row(f"{line.work.name}, {UNITS[line.work.figure]}", told, *here, ours)
    tables = [table]
    if rows := peer_cells(result):
        peers = Table(*PEERS_HEAD, box=SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            peers.add_row(*row)
        tables.append(peers)
    return tables


def notes(result: Mapping[str, Any]) -> list[str]:
    """What else there is to say of each line."""
    found = []
    for line in lines(result):
        _, _, _, _, baseline, optimized, _, quality = line.cells()
        found.append(f"{line.work.name}: {line.setting}; {baseline} against {optimized}; {quality}")
    return found
