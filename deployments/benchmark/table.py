"""The article's table with this run's figures: from a result to lines, and from lines to Markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.benchmark.asking import BASELINE, OPTIMIZED
from deployments.benchmark.markdown_table import markdown_table, number, shown
from deployments.benchmark.origin import told
from deployments.benchmark.ratios import LEAST_ROUNDS, Ratio, Spread, ratio, spread
from deployments.benchmark.works import UNITS, WORKS, Work

HEAD = (
    "scenario",
    "article: baseline",
    "optimized",
    "ratio",
    "here: baseline",
    "optimized",
    "ratio [interval]",
    "than the article's",
    "quality",
)


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
        standing = "" if claim is None else self.ratio.against(claim.ratio)
        return (f"{self.work.title}, {self.setting}", *told, *here, times(self.ratio), standing, self.quality)


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
        quality(found["servers"][OPTIMIZED]["agreement"], found["quality"]),
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
    names = {"bleu": "BLEU"}
    before = [
        f"{one['variant']}: {names.get(one['measure'], one['measure'])} {one['score']:.4g}, fp32 {one['fp32']:.4g} "
        f"(on {', '.join(one['data'])}, {str(one['date'])[:10]})"
        for one in measured
    ]
    return "; ".join(part for part in (agreed(agreement), *before) if part)


def agreed(agreement: Mapping[str, float]) -> str:
    """How a server's answers agree with the baseline's to the same requests."""
    if "same_labels" in agreement:
        return f"same label for {agreement['same_labels']:.1%} of {agreement['count']} texts"
    if "bleu" in agreement:
        return (
            f"against the baseline's {agreement['count']} translations: {agreement['bleu']:.1f} BLEU, "
            f"{agreement['chrf']:.1f} chrF, {agreement['same_texts']:.0%} the same"
        )
    if "same_words" in agreement:
        return (
            f"{agreement['same_texts']:.0%} of {agreement['count']} answers the same to the last word, "
            f"{agreement['same_words']:.0%} of the words before the first other one"
        )
    return ""


def times(one: Ratio) -> str:
    return f"{one.value:.2f}x [{one.low:.2f} to {one.high:.2f}]"


def markdown(result: Mapping[str, Any]) -> str:
    """Where the figures come from, then a row a line."""
    rounds = result["rounds"]
    bounds = "where it is with 95%" if rounds >= LEAST_ROUNDS else "the extremes"
    count = "One round" if rounds == 1 else f"Medians of {rounds} rounds, in brackets {bounds}"
    unfinished = "" if result["complete"] else " **It was stopped before its last round.**"
    table = markdown_table(HEAD, [line.cells() for line in lines(result)])
    return f"{told(result)} {count}. Threads: {threads(result)}.{unfinished}\n\n{table}\n"


def threads(result: Mapping[str, Any]) -> str:
    """Of the servers, and of the baseline in each work: it takes as many as it is fastest with."""
    works: dict[str, list[str]] = {}
    for name, work in result["works"].items():
        works.setdefault(_tried(work["baseline"]), []).append(name)
    told = "; ".join(f"{count} for {', '.join(names)}" for count, names in works.items())
    return f"{result['threads']}; the baseline's (in brackets what its tries took): {told}"


def _tried(baseline: Mapping[str, Any]) -> str:
    if not baseline:
        return "unknown"
    tried = ", ".join(f"with {count} {number(seconds)} s" for count, seconds in baseline["tried_s"].items())
    return f"{baseline['threads']}" + (f" ({tried})" if tried else "")
