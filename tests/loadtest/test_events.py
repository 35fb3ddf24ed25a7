from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import events
from loadtest.record import Record


def stream(sent: float, gaps: list[float], tokens: int, **more: Any) -> Record:
    """Its first text comes half a second after it was sent."""
    last = sent + 0.5 + sum(gaps)
    return Record(
        0, "chat", "m", sent, sent, sent, sent, sent + 0.5, last, last, gaps, 200, output_tokens=tokens, **more
    )


WHOLE = Record(1, "classify", "c", 4.0, 4.0, 4.5, None, 4.5, 4.5, 4.5, status=200, prompt_tokens=30, items=4)


def test_tokens_are_spread_over_their_events() -> None:
    at, counts = events.output_tokens([stream(1.0, [0.25, 1.0], 6), stream(10.0, [], 3), WHOLE])
    assert at == pytest.approx([1.5, 1.75, 2.75, 10.5])
    assert counts == pytest.approx([2, 2, 2, 3])


def test_what_failed_brought_nothing() -> None:
    failed = stream(1.0, [0.25], 6, failure="cut", prompt_tokens=8)
    for of in (events.output_tokens, events.prompt_tokens, events.answers, events.items):
        assert len(of([failed])[0]) == 0


def test_prompts_answers_and_items() -> None:
    records = [stream(1.0, [1.0], 6, prompt_tokens=8), WHOLE]
    assert [list(part) for part in events.prompt_tokens(records)] == [[1.5, 4.5], [8, 30]]
    assert [list(part) for part in events.answers(records)] == [[2.5, 4.5], [1, 1]]
    assert [list(part) for part in events.items(records)] == [[4.5], [4]]


def test_rates_are_of_what_came_within() -> None:
    times = np.array([1.0, 2.0, 2.5, 4.0]), np.array([10.0, 20.0, 30.0, 40.0])
    assert events.per_second(times, 2.0, 4.0) == 25.0
    assert list(events.binned(times, np.array([0.0, 2.0, 3.0]))) == [5.0, 50.0]


@given(st.lists(st.tuples(st.floats(0, 1000), st.lists(st.floats(0, 5), max_size=9), st.integers(0, 99)), max_size=9))
def test_no_token_is_lost(asked: list[tuple[float, list[float], int]]) -> None:
    at, counts = events.output_tokens([stream(*one) for one in asked])
    assert counts.sum() == pytest.approx(sum(tokens for _, _, tokens in asked))
    expected = [sent + 0.5 + sum(gaps[:number]) for sent, gaps, _ in asked for number in range(len(gaps) + 1)]
    assert at == pytest.approx(expected)


def test_most_at_once() -> None:
    spans = [(0.0, 5.0), (1.0, 2.0), (2.0, 3.0), (4.0, 9.0)]
    records = [Record(0, "chat", "m", begin, begin, end_s=end) for begin, end in spans]
    assert events.most_at_once(records, 0, 10) == 2, "one that begins when another ends is not beside it"
    assert events.most_at_once(records, 6, 10) == 1
    assert events.most_at_once(records, 20, 30) == 0
    assert events.most_at_once([*records, Record(9, "chat", "m", 1.5, 1.5, end_s=1.7, failure="503")], 0, 10) == 3
    assert events.most_at_once([Record(9, "chat", "m", 1.5)], 0, 10) == 0
