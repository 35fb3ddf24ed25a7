"""What a loss did to the requests of a run, from their records. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from deployments.benchmark.phases import asked_tokens, bounds, percentiles
from loadtest.latency import tpot_s, ttft_s
from loadtest.record import Record
from loadtest.scenario import Open, Scenario


def peak_s(scenario: Scenario) -> float:
    """The middle of the phase with the highest rate; of the whole run where there are no phases."""
    phases = scenario.load.phases if isinstance(scenario.load, Open) else ()
    if not phases:
        return scenario.total_s / 2
    highest = max(range(len(phases)), key=lambda index: max(phases[index].rate, phases[index].to or 0.0))
    return sum(bounds(scenario)[highest]) / 2


def failures(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Requests without a complete answer."""
    return [
        {"number": one.number, "scheduled_s": one.scheduled_s, "failure": one.failure, "message": one.message[:300]}
        for one in records
        if one.failure
    ]


def wrong_lengths(records: Sequence[Record], scenario: Scenario) -> list[dict[str, Any]]:
    """Complete answers that are longer or shorter than was asked, by the server's `usage`."""
    found = []
    for one in records:
        wanted = asked_tokens(scenario, one)
        if not one.failure and one.output_tokens != wanted:
            found.append({"number": one.number, "asked": wanted, "answered": one.output_tokens})
    return found


def under_way(records: Sequence[Record], at_s: float) -> int:
    """Requests that had been sent and were not complete."""
    return sum(one.sent_s is not None and one.sent_s <= at_s and (one.end_s is None or at_s < one.end_s)
               for one in records)  # fmt: skip


def waits(record: Record) -> Iterator[tuple[float, float]]:
    """When its caller waited, from and until: for the first event, and for each one after it."""
    if record.sent_s is None or record.first_s is None:
        return
    yield record.sent_s, record.first_s
    yield from pairwise(accumulate(record.gaps_s, initial=record.first_s))


def longest_pause_s(records: Sequence[Record], from_s: float, until_s: float, *, first: bool) -> float:
    """The longest wait that was in part within this time: for a first token, or between events of a stream."""
    found = [
        end - begin
        for record in records
        for index, (begin, end) in enumerate(waits(record))
        if (index == 0) == first and begin < until_s and end > from_s
    ]
    return max(found, default=0.0)


def window(records: Sequence[Record], from_s: float, until_s: float) -> dict[str, Any]:
    """Figures of the requests that were due in this time; milliseconds."""
    due = [one for one in records if from_s <= one.scheduled_s < until_s]
    return {
        "from_s": from_s,
        "until_s": until_s,
        "requests": len(due),
        "ttft_ms": percentiles([ttft_s(one) for one in due]),
        "tpot_ms": percentiles([tpot_s(one) for one in due]),
        "longest_pause_s": longest_pause_s(records, from_s, until_s, first=False),
        "longest_first_s": longest_pause_s(records, from_s, until_s, first=True),
    }


def resumptions(samples: Sequence[Mapping[str, Any]]) -> float:
    """How many streams went on at another replica, by the server's own count; `samples` are those of `server.jsonl`."""
    counts = [sum(one["metrics"].get("stageline:stream_resumptions_total", {}).values()) for one in samples]
    return max(counts, default=0.0) - min(counts, default=0.0)
