"""What the servers answered to the same requests, beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deployments.benchmark.agreement import Pair, pairs
from deployments.benchmark.asking import BASELINE, Taken
from deployments.benchmark.harness import questions
from loadtest.record import Record
from loadtest.scenario import Scenario


def variants(taken: Taken) -> list[str]:
    """Which of Stageline's variants answered."""
    return sorted({record.variant for _, records in taken.records for record in records if record.variant})


def common_answers(taken: Mapping[str, Taken], server: str) -> list[Pair]:
    """What the baseline and a server answered to the same questions, each question once."""
    found: dict[str, Pair] = {}
    for scenario, theirs, ours in _rounds(taken, server):
        # By the baseline's words for both: a peer's have another name for the model.
        found |= pairs(questions(scenario, [*theirs, *ours]), theirs, ours)
    return list(found.values())


def other_prompts(taken: Mapping[str, Taken], server: str) -> int | None:
    """How many requests were not of as many tokens to the server as to the baseline; None where not both tell."""
    counts = [
        (known[one.number], one.prompt_tokens)
        for _, theirs, ours in _rounds(taken, server)
        for known in [{record.number: record.prompt_tokens for record in theirs if not record.failure}]
        for one in ours
        if not one.failure and one.number in known
    ]
    told = [(theirs, ours) for theirs, ours in counts if theirs and ours]
    return sum(theirs != ours for theirs, ours in told) if told else None


def _rounds(taken: Mapping[str, Taken], server: str) -> Iterator[tuple[Scenario, list[Record], list[Record]]]:
    for (scenario, theirs), (_, ours) in zip(taken[BASELINE].records, taken[server].records, strict=True):
        yield scenario, theirs, ours
