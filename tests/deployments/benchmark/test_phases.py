from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.benchmark.phases import bounds, by_variant, figures, most_replicas, moves, ready
from loadtest.record import Record
from loadtest.scenario import Objective, Open, Phase, Requests, Scenario, load_scenario

SCENARIO = Scenario(
    name="small-step",
    requests=(Requests(kind="completions", model="m", output_tokens=10),),
    load=Open(arrivals="poisson", phases=(Phase(seconds=2, rate=1), Phase(seconds=3, rate=4))),
    warm_up_s=0.0,
    duration_s=5.0,
    objective=Objective(within={"ttft_ms": 300}),
)


def answered(number: int, due_s: float, variant: str, first_s: float) -> Record:
    begin = due_s + first_s
    return Record(
        number, "completions", "m", due_s, sent_s=due_s, first_s=begin, last_s=begin + 0.9, end_s=begin + 0.9,
        gaps_s=[0.1] * 9, status=200, variant=variant, output_tokens=10,
    )  # fmt: skip


RECORDS = [
    answered(0, 0.5, "bf16", 0.1),
    answered(1, 2.5, "bf16", 0.2),
    answered(2, 3.0, "int8-dynamic", 0.4),
    Record(3, "completions", "m", 3.5, status=503, failure="503"),
    Record(4, "completions", "m", 4.0, failure="timeout"),
]


def sample(at_s: float, **replicas: int) -> dict[str, Any]:
    return {"at_s": at_s, "models": [{"name": "m", "variants": [
        {"name": name, "replicas": count} for name, count in replicas.items()]}]}  # fmt: skip


SAMPLES = [
    sample(0.0, bf16=1, int8=0),
    sample(1.0, bf16=1, int8=0),
    {"at_s": 2.0, "models": []},
    sample(2.5, bf16=1, int8=1),
    sample(3.5, bf16=1, int8=2),
    sample(4.5, bf16=1, int8=1),
]


def test_each_phase_by_itself() -> None:
    (first, second) = (figures(RECORDS, SAMPLES, SCENARIO, *times) for times in bounds(SCENARIO))
    assert (first["from_s"], first["until_s"], second["until_s"]) == (0.0, 2.0, 5.0)
    assert (first["requests"], second["requests"]) == (1, 4)
    assert (second["refused"], second["failed"]) == (1, 1)
    assert first["offered_tokens_per_s"] == 5
    assert second["offered_tokens_per_s"] == pytest.approx(40 / 3)
    assert second["tokens_per_s"] == pytest.approx(20 / 3)
    assert second["variants"] == {"m:bf16": 1, "m:int8-dynamic": 1}
    assert second["most_replicas"] == {"m:bf16": 1, "m:int8": 2}
    assert second["ttft_ms"] == {"p50": pytest.approx(300), "p99": pytest.approx(398)}
    assert first["tpot_ms"]["p50"] == pytest.approx(100)
    assert (first["good"], second["good"]) == (1, 1), "the second was late, and failures are not good"
    assert first["answer_ms"] == {}


def test_a_load_without_phases_is_one() -> None:
    burst = load_scenario(Path("burst"))
    assert bounds(burst) == [(burst.warm_up_s, burst.total_s)]
    assert len(bounds(load_scenario(Path("day")))) == 8


def test_when_replicas_came_and_went() -> None:
    assert [(one["at_s"], one["variant"], one["replicas"]) for one in moves(SAMPLES)] == [
        (0.0, "m:bf16", 1),
        (0.0, "m:int8", 0),
        (2.5, "m:int8", 1),
        (3.5, "m:int8", 2),
        (4.5, "m:int8", 1),
    ]
    assert moves([]) == []
    assert most_replicas([]) == {}
    assert ready(SAMPLES[0]) == {"m:bf16": 1, "m:int8": 0}
    assert by_variant(RECORDS) == {"m:bf16": 2, "m:int8-dynamic": 1}
