"""What a report says, in order: verdict, what ran, figures, failures, the client, pictures, and what is not told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadtest.objective import Verdict
from loadtest.record import Record
from loadtest.report.blocks import Block, Heading, Listing, Paragraph, Picture, Table
from loadtest.report.folder import Run
from loadtest.report.tables import counts, latencies
from loadtest.report.words import FAILURES, scenario_words, short
from loadtest.summary import Summary, in_window

DEFINITIONS = (
    "TTFT: from sending a request to the first event with text. First event: to the first with choices, be its text "
    "empty, where vLLM's clock stops. As scheduled: from when it should have been sent, so that a client that is late "
    "cannot hide it.",
    "TPOT, without the first token: from the first to the last, over n - 1, as vLLM and SGLang. With it: from sending "
    "to the last, over n, as guidellm. n is the server's own count.",
    "ITL: each gap between events with text, which may hold several tokens (aiperf: inter-chunk latency).",
    "E2E: from sending to the last token, or to the end of an answer in one piece.",
    "Goodput: requests within all of the objective's limits, of all requests sent; those that fail are not.",
    "Rates are of what arrived in the measured time. Failed requests have no part in latencies.",
    "[low, high]: 95% confidence, of percentiles by order statistics, of means by Student's t, of ITL by request; "
    "a dash: too few requests for that bound.",
)
NOT_TOLD = (
    "These figures are of one run, of this load, on this machine, and do not carry over to another. The intervals take "
    "requests for independent of each other; where requests queue they are not, and another run may differ by more: "
    "repeat it. Where client and server share cores, the client's work is in the figures. The percentiles say nothing "
    "of what is rarer than one in a hundred, and nothing here of how good the answers are. Texts of a generated load "
    "are not those of your users: caches of prefixes and lengths of answers will be others."
)


def report(run: Run, summary: Summary, verdict: Verdict, pictures: Sequence[Picture], missing: str = "") -> list[Block]:
    """`missing`: why there are no pictures, where that is to be told."""
    return [
        Heading(f"{summary.scenario}: {_outcome(verdict)}", 1),
        *_alarms(run, summary),
        *([Listing(tuple(one.words for one in verdict.promises))] if verdict.promises else []),
        Heading("What ran"),
        *_what_ran(run, summary),
        Heading("Figures"),
        counts(summary),
        *latencies(summary),
        Paragraph("What the names mean:"),
        Listing(DEFINITIONS),
        *_failures(run, summary),
        *_answered_by(summary),
        *_client(run, summary),
        *_pictures(pictures, missing),
        Heading("What these figures do not tell"),
        Paragraph(NOT_TOLD),
    ]


def _outcome(verdict: Verdict) -> str:
    if not verdict.promises:
        return "no objective"
    return "objective kept" if verdict.kept else "objective not kept"


def _pictures(pictures: Sequence[Picture], missing: str) -> Iterator[Block]:
    if pictures or missing:
        yield Heading("Pictures")
        yield from pictures
    if missing:
        yield Paragraph(missing)


def _alarms(run: Run, summary: Summary) -> Iterator[Block]:
    if run.bottleneck:
        why = "The client was the bottleneck" if run.complete else "The run is not complete"
        yield Paragraph(f"{why}: these are not the server's figures. {run.bottleneck}", True)
    if words := _tokens(run).get("verdict"):
        yield Paragraph(str(words), True)
    if not summary.overall.completed:
        yield Paragraph("No request was answered in the measured time.", True)


def _tokens(run: Run) -> Mapping[str, Any]:
    """The server's count of tokens against its tokenizer's, where somebody compared them."""
    return run.about.get("tokens") or {}


def _what_ran(run: Run, summary: Summary) -> Iterator[Block]:
    yield Listing(tuple(scenario_words(run.scenario)))
    machine: Mapping[str, Any] = run.about.get("machine") or {}
    server: Mapping[str, Any] = run.about.get("server") or {}
    rows = [
        ("server", _joined(run.about.get("url"), _named("version", server.get("version")))),
        ("models", ", ".join(map(str, server.get("models") or ()))),
        ("date", str(machine.get("date", ""))),
        ("commit", str(machine.get("commit", ""))),
        ("machine", _joined(machine.get("processor"), _named("cores", machine.get("cores"), after=True),
                            _named("GiB of memory", machine.get("memory_gib"), after=True))),
        ("client", _joined(_named("Python", machine.get("python")), _named("Locust", machine.get("locust")),
                           _workers(run.about.get("workers")))),
        ("measured", f"{short(summary.from_s)} s to {short(summary.until_s)} s from the start; "
                     f"{summary.warm_up} requests before that are left out"),
    ]  # fmt: skip
    yield Table(("", ""), tuple(row for row in rows if row[1]), figures=False)


def _joined(*parts: Any) -> str:
    return ", ".join(str(part) for part in parts if part)


def _workers(count: Any) -> str:
    return "" if not count else "1 process" if count == 1 else f"{count} processes"


def _named(name: str, value: Any, after: bool = False) -> str:
    if value in (None, ""):
        return ""
    return f"{value} {name}" if after else f"{name} {value}"


def _failures(run: Run, summary: Summary) -> Iterator[Block]:
    failed = summary.overall.failed
    if not failed:
        return
    yield Heading("Failures")
    measured = in_window(run.records, summary.from_s, summary.until_s)
    yield Table(
        ("", "requests", "the first one said"),
        tuple((FAILURES.get(kind, kind), str(count), _first(measured, kind)) for kind, count in failed.items()),
        figures=False,
    )


def _first(measured: Sequence[Record], kind: str) -> str:
    return next((one.message[:200] for one in measured if one.failure == kind), "")


def _answered_by(summary: Summary) -> Iterator[Block]:
    variants = summary.overall.variants
    if variants:
        yield Heading("Who answered")
        yield Table(("variant", "complete answers"), tuple((name, str(count)) for name, count in variants.items()))


def _client(run: Run, summary: Summary) -> Iterator[Block]:
    yield Heading("The client")
    lag = summary.overall.latencies.get("lag")
    if lag is not None:
        yield Paragraph(
            f"Requests were sent late by {short(lag.p50.value)} ms (median), {short(lag.p99.value)} ms (p99), "
            f"{short(lag.max)} ms (at most)."
        )
    told: Mapping[str, Any] = run.about.get("client") or {}
    names = {
        "lag_p50_ms": "its event loop's lag, median, ms",
        "lag_p99_ms": "its event loop's lag, p99, ms",
        "lag_max_ms": "its event loop's lag, at most, ms",
        "late_p99_ms": "requests late, warm-up included, p99, ms",
        "cpu_share": "share of a core that it took",
    }
    rows = [(words, short(float(told[name]))) for name, words in names.items() if told.get(name) is not None]
    if rows:
        yield Table(("by its own account", ""), tuple(rows))
    if told and not run.bottleneck:
        yield Paragraph("By its own account it was not the bottleneck.")
    if (tokens := _tokens(run)).get("answers"):
        yield Paragraph(
            f"In {tokens['answers']} answers the server counted {tokens['usage']} tokens and its tokenizer "
            f"{tokens['tokenizer']}; in {tokens['equal']} of them both counted the same."
        )
