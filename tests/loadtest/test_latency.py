"""Each definition by an example that can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.latency import LATENCIES, Limited, is_good
from loadtest.record import Failure, Record

# Should be sent at 10.0, was at 10.1; first event with choices at 10.2, text at 10.3, 10.4, 10.6 and 11.0; end at 11.1.
STREAM = Record(
    1, "chat", "m", 10.0, 10.1, 10.15, 10.2, 10.3, 11.0, 11.1, [0.1, 0.2, 0.4], 200, prompt_tokens=5, output_tokens=8
)
WHOLE = Record(2, "classify", "c", 20.0, 20.5, 21.5, None, 21.5, 21.5, 21.5, status=200)


def figures(record: Record) -> dict[str, float | None]:
    return {name: of(record) for name, of in LATENCIES.items()}


def test_a_stream() -> None:
    assert figures(STREAM) == pytest.approx(
        {
            "ttft": 10.3 - 10.1,
            "ttft_chunk": 10.2 - 10.1,
            "ttft_scheduled": 10.3 - 10.0,
            "tpot": (11.0 - 10.3) / 7,
            "tpot_with_first": (11.0 - 10.1) / 8,
            "e2e": 11.0 - 10.1,
            "e2e_scheduled": 11.0 - 10.0,
            "lag": 0.1,
        }
    )


def test_an_answer_in_one_piece_has_the_time_to_its_end() -> None:
    nothing = dict.fromkeys(("ttft", "ttft_chunk", "ttft_scheduled", "tpot", "tpot_with_first"))
    assert figures(WHOLE) == {**nothing, "e2e": 1.0, "e2e_scheduled": 1.5, "lag": 0.5}


def test_text_in_one_piece_has_a_first_token_but_none_could_be_seen_coming() -> None:
    one = replace(STREAM, chunk_s=None, first_s=11.1, last_s=11.1, gaps_s=[])
    found = figures(one)
    assert [found["ttft"], found["e2e"]] == pytest.approx([1.0, 1.0])
    assert found["tpot"] is None
    assert found["tpot_with_first"] == pytest.approx(1.0 / 8)


def test_one_token_has_no_time_per_token_after_it() -> None:
    one = replace(STREAM, output_tokens=1, gaps_s=[], last_s=10.3)
    assert figures(one)["tpot"] is None
    assert figures(one)["tpot_with_first"] == pytest.approx(0.2)


def test_a_stream_without_text_lasts_until_its_end() -> None:
    one = replace(STREAM, first_s=None, last_s=None, gaps_s=[], output_tokens=0)
    assert figures(one)["ttft"] is None
    assert figures(one)["e2e"] == pytest.approx(1.0)


def test_what_failed_has_a_lag_and_nothing_else() -> None:
    found = figures(replace(STREAM, failure="cut"))
    assert found.pop("lag") == pytest.approx(0.1)
    assert set(found.values()) == {None}


def test_what_was_never_sent_has_nothing() -> None:
    assert set(figures(Record(1, "chat", "m", 3.0, failure="connection")).values()) == {None}


LIMITS: dict[Limited, float] = {"ttft_ms": 250, "tpot_ms": 110, "e2e_ms": 950}


def test_good_is_within_all_limits() -> None:
    assert is_good(STREAM, LIMITS)
    broken: list[tuple[Limited, float]] = [("ttft_ms", 190), ("tpot_ms", 90), ("e2e_ms", 850)]
    for name, limit in broken:
        assert not is_good(STREAM, {**LIMITS, name: limit}), name
    assert is_good(WHOLE, {"ttft_ms": 1, "e2e_ms": 1000}), "a classification has no first token"
    assert not is_good(WHOLE, {"e2e_ms": 999})


FAILURES: list[Failure] = ["429", "503", "http", "timeout", "cut", "connection", "answer", "client", "unfinished"]


@pytest.mark.parametrize("failure", FAILURES)
def test_what_failed_is_never_good(failure: Failure) -> None:
    assert not is_good(replace(STREAM, failure=failure), {})


@given(st.floats(0, 10), st.floats(0.001, 10), st.lists(st.floats(0.001, 5), min_size=1, max_size=20), st.integers(2))
def test_the_two_times_per_token_are_of_the_same_stream(
    late: float, first: float, gaps: list[float], tokens: int
) -> None:
    sent = 5.0 + late
    last = sent + first + sum(gaps)
    one = Record(1, "chat", "m", 5.0, sent, None, None, sent + first, last, last, gaps, 200, output_tokens=tokens)
    found = figures(one)
    assert None not in (found["ttft"], found["tpot"], found["tpot_with_first"], found["e2e"])
    assert found["e2e"] == pytest.approx(found["ttft"] + found["tpot"] * (tokens - 1))  # type: ignore[operator]
    assert found["e2e"] == pytest.approx(found["tpot_with_first"] * tokens)  # type: ignore[operator]
    assert found["e2e_scheduled"] == pytest.approx(found["e2e"] + found["lag"])  # type: ignore[operator]
