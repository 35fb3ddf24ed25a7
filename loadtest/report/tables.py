"""A report's tables of figures."""

from __future__ import annotations

from collections.abc import Iterator

from loadtest.report.blocks import Table
from loadtest.report.words import short, with_interval
from loadtest.summary import QUANTILES, Group, Summary

LATENCIES = {
    "ttft": "TTFT",
    "ttft_chunk": "TTFT, first event",
    "ttft_scheduled": "TTFT, as scheduled",
    "tpot": "TPOT, without the first token (vLLM)",
    "tpot_with_first": "TPOT, with it (guidellm)",
    "itl": "ITL",
    "e2e": "E2E",
    "e2e_scheduled": "E2E, as scheduled",
}


def counts(summary: Summary) -> Table:
    """Requests, rates and goodput: of all, and by kind where there are several."""
    groups = _groups(summary)
    rows = [("requests sent", [str(one.sent) for one in groups.values()])]
    rows += [("complete", [str(one.completed) for one in groups.values()])]
    rows += [("failed", [str(one.sent - one.completed) for one in groups.values()])]
    figures = {
        "requests/s, as scheduled": "offered_per_s",
        "requests/s, answered": "requests_per_s",
        "output tokens/s": "output_tokens_per_s",
        "tokens/s with those of prompts": "total_tokens_per_s",
        "texts/s": "items_per_s",
        "goodput, requests/s": "goodput_per_s",
        "tokens in an event": "tokens_per_event",
    }
    for words, name in figures.items():
        values = [getattr(one, name) for one in groups.values()]
        if any(values):
            rows.append((words, ["" if value is None else short(value) for value in values]))
    rows.append(("goodput, share of those sent", [_goodput(one) for one in groups.values()]))
    return Table(("", *groups), tuple((words, *values) for words, values in rows))


def _groups(summary: Summary) -> dict[str, Group]:
    return {"all": summary.overall, **summary.kinds} if len(summary.kinds) > 1 else {"all": summary.overall}


def _goodput(group: Group) -> str:
    found = group.goodput
    return "" if found is None else f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def latencies(summary: Summary) -> Iterator[Table]:
    """By kind: a classification and an answer of 500 tokens have no latency in common."""
    for kind, group in summary.kinds.items():
        rows = []
        for name, words in LATENCIES.items():
            found = group.latencies.get(name)
            if found is not None:
                estimates = (found.mean, *(getattr(found, quantile) for quantile in QUANTILES))
                rows.append(
                    (words, str(found.count), *map(with_interval, estimates), short(found.max), short(found.std))
                )
        if rows:
            columns = ("n", "mean", "median", *list(QUANTILES)[1:], "max", "std")
            yield Table((f"{kind}, ms", *columns), tuple(rows))
