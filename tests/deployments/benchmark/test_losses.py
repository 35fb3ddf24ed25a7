from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.benchmark.losses import (
    failures,
    longest_pause_s,
    peak_s,
    resumptions,
    under_way,
    waits,
    window,
    wrong_lengths,
)
from deployments.benchmark.phases import asked_tokens
from loadtest.record import Record
from loadtest.scenario import Open, Phase, Range, Requests, Scenario, load_scenario

SCENARIO = Scenario(
    name="small-peak",
    requests=(Requests(kind="chat", model="m", output_tokens=Range(low=3, high=9)),),
    load=Open(
        arrivals="poisson", phases=(Phase(seconds=5, rate=1), Phase(seconds=10, rate=1, to=6), Phase(seconds=5, rate=2))
    ),
    warm_up_s=0.0,
    duration_s=20.0,
)


def streamed(number: int, sent_s: float, gaps_s: list[float], tokens: int = 0) -> Record:
    first_s = sent_s + 0.5
    end_s = first_s + sum(gaps_s)
    return Record(
        number, "chat", "m", sent_s, sent_s=sent_s, first_s=first_s, last_s=end_s, end_s=end_s, gaps_s=gaps_s,
        status=200, output_tokens=tokens,
    )  # fmt: skip


def test_the_peak_is_the_middle_of_the_highest_phase() -> None:
    assert peak_s(SCENARIO) == 10.0
    burst = load_scenario(Path("burst"))
    assert peak_s(burst) == burst.total_s / 2


def test_answers_of_another_length_than_asked_are_found() -> None:
    records = [streamed(number, 0.0, [0.1]) for number in range(20)]
    wanted = [asked_tokens(SCENARIO, record) for record in records]
    assert set(wanted) <= set(range(3, 10))
    assert len(set(wanted)) > 1
    for record, tokens in zip(records, wanted, strict=True):
        record.output_tokens = tokens
    assert wrong_lengths(records, SCENARIO) == []
    records[3].output_tokens -= 1
    records[4].failure = "cut"
    records[4].output_tokens = 0
    (wrong,) = wrong_lengths(records, SCENARIO)
    assert wrong == {"number": 3, "asked": wanted[3], "answered": wanted[3] - 1}
    assert [one["number"] for one in failures(records)] == [4]


def test_pauses_count_where_any_part_of_them_was_in_the_time() -> None:
    # Waits for a first token from 1 to 1.5, then for events until 1.6, 4.6 and 4.7.
    record = streamed(0, 1.0, [0.1, 3.0, 0.1])
    assert [time for wait in waits(record) for time in wait] == pytest.approx([1.0, 1.5, 1.5, 1.6, 1.6, 4.6, 4.6, 4.7])
    assert longest_pause_s([record], 2.0, 3.0, first=False) == pytest.approx(3.0)
    assert longest_pause_s([record], 2.0, 3.0, first=True) == 0.0
    assert longest_pause_s([record], 4.61, 9.0, first=False) == pytest.approx(0.1)
    assert longest_pause_s([record], 0.0, 1.2, first=True) == pytest.approx(0.5)
    assert list(waits(Record(1, "chat", "m", 0.0))) == []


def test_requests_under_way_at_a_moment() -> None:
    ended, open_, unsent = streamed(0, 1.0, [1.0]), streamed(1, 1.0, [1.0]), Record(2, "chat", "m", 1.0)
    open_.end_s = None
    assert [under_way([ended, open_, unsent], at) for at in (0.5, 1.5, 2.6)] == [0, 2, 1]


def test_a_window_has_the_requests_that_were_due_in_it() -> None:
    found = window([streamed(0, 1.0, [0.1, 0.1], 3), streamed(1, 6.0, [2.0], 2)], 0.0, 5.0)
    assert found["requests"] == 1
    assert found["ttft_ms"]["p50"] == pytest.approx(500)
    assert found["tpot_ms"]["p50"] == pytest.approx(100)
    assert found["longest_pause_s"] == pytest.approx(0.1)
    assert window([], 0.0, 5.0)["ttft_ms"] == {}


def test_streams_that_went_on_are_counted_by_the_server() -> None:
    name = "stageline:stream_resumptions_total"
    samples: list[dict[str, Any]] = [
        {"metrics": {}},
        {"metrics": {name: {"m/bf16": 1.0}}},
        {"metrics": {name: {"m/bf16": 3.0, "m/fp32": 1}}},
    ]
    assert resumptions(samples) == 4
    assert resumptions([]) == 0
