from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.agreement.compare import agree, compare
from loadtest.agreement.figures import Figures
from loadtest.agreement.table import Compared, as_json, markdown
from loadtest.agreement.work import Rate, Work

BASE = Figures(100.0, 200.0, 10.0, 10.0, 50.0, 2.0, completed=9, failed=0, version="1")


def a_round(ours: float, theirs: float) -> dict[str, Figures]:
    return {"ours": replace(BASE, ttft_p50_ms=ours), "theirs": replace(BASE, ttft_p50_ms=theirs)}


def test_medians_of_the_rounds_are_compared() -> None:
    rounds = [a_round(100, 90), a_round(110, 104), a_round(90, 300)]
    line = compare(rounds, 0.05)[0]
    assert (line.figure, line.medians) == ("ttft_p50_ms", {"ours": 100, "theirs": 104})
    assert line.differences == {"theirs": pytest.approx(0.04)}
    assert line.spreads == {"ours": pytest.approx(0.2), "theirs": pytest.approx(210 / 104)}
    assert line.agrees
    assert agree(rounds, 0.05)
    assert not agree(rounds, 0.03)


@pytest.mark.parametrize("theirs", [94.0, 106.0])
def test_more_and_less_are_both_too_far(theirs: float) -> None:
    rounds = [a_round(100, theirs)]
    assert [line.agrees for line in compare(rounds, 0.05)] == [False, *[True] * 5]
    assert not agree(rounds, 0.05)


def test_where_requests_failed_figures_are_of_different_requests() -> None:
    rounds = [a_round(100, 100), {**a_round(100, 100), "theirs": replace(BASE, failed=1)}]
    assert all(line.agrees for line in compare(rounds, 0.05))
    assert not agree(rounds, 0.05)
    assert "theirs: 1 requests failed." in markdown([Compared(Work("", "", Rate(2)), rounds)], 0.05)


def test_table_and_json_say_the_same() -> None:
    one = Compared(Work("http://localhost:1", "m", Rate(2.5)), [a_round(100, 103)])
    text = markdown([one], 0.05)
    assert "| Open loop, 2.5 requests/s, Poisson | ours | theirs | from ours | rounds of ours differ by |" in text
    assert "| TTFT p50, ms | 100.0 | 103.0 | +3.0% | 0.0% |" in text
    assert "They agree within 5%; medians of 1 rounds." in text
    content = as_json([one], 0.05, {"cores": 2})
    assert content["agree"]
    assert content["loads"][0]["lines"][0]["differences"] == {"theirs": pytest.approx(0.03)}
    assert content["loads"][0]["work"]["load"] == {"per_s": 2.5}
    assert "They do not agree" in markdown([one], 0.01)
