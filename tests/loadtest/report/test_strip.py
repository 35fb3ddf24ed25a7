from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtest.report.folder import Mark
from loadtest.report.strip import LETTERS, rows, words


def mark(at: float, what: str = "x" * 20) -> Mark:
    return Mark(at, None, what)


def test_words_that_are_apart_share_a_row() -> None:
    assert rows([mark(0), mark(50), mark(80)], 100) == [0, 0, 0]


def test_words_that_would_run_into_each_other_stand_in_rows() -> None:
    assert rows([mark(10), mark(11), mark(12), mark(40)], 100) == [0, 1, 2, 0]


@given(st.lists(st.tuples(st.floats(0, 100), st.text(max_size=60)), max_size=30))
def test_no_words_overlap(marks: list[tuple[float, str]]) -> None:
    ordered = sorted((Mark(at, None, what) for at, what in marks), key=lambda one: one.at_s)
    ends: dict[int, float] = {}
    for one, row in zip(ordered, rows(ordered, 100), strict=True):
        width = (len(words(one)) + 1) / LETTERS
        begin = max(0.0, min(one.at_s / 100, 1 - width))
        assert begin >= ends.get(row, 0.0)
        ends[row] = begin + width


def test_words_are_short_and_plain() -> None:
    assert words(mark(0, "node  2\nkilled")) == " node 2 killed"
    assert len(words(mark(0, "long " * 50))) <= 41
    assert words(mark(0, "costs $1, $2")) == r" costs \$1, \$2"
