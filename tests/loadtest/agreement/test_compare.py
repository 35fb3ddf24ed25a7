from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from loadtest.agreement.compare import Round, compare, judge
from loadtest.agreement.figures import Figures
from loadtest.agreement.table import Compared, as_json, markdown
from loadtest.agreement.work import Rate, Work

BASE = Figures(100.0, 200.0, 10.0, 10.0, 50.0, 2.0, completed=9, failed=0, version="1")


def one(rounds: Sequence[Round]) -> Compared:
    return Compared(Work("http://localhost:1", "m", Rate(2.5)), rounds)


def a_round(ours: float, theirs: float) -> dict[str, Figures]:
    return {"ours": replace(BASE, ttft_p50_ms=ours), "theirs": replace(BASE, ttft_p50_ms=theirs)}


def test_the_median_of_each_rounds_difference_counts() -> None:
    """Also where the rounds differ by far more than the clients."""
    rounds = [a_round(100, 96), a_round(200, 204), a_round(40, 120)]
    line = compare(rounds)[0]
    assert (line.figure, line.medians) == ("ttft_p50_ms", {"ours": 100, "theirs": 120})
    assert line.differences == {"theirs": pytest.approx(0.02)}
    assert judge(rounds, 0.03) == "agree"
    assert judge(rounds, 0.01) == "do not agree"


@pytest.mark.parametrize(("theirs", "verdict"), [(94, "do not agree"), (96, "agree"), (106, "do not agree")])
def test_more_and_less_are_both_too_far(theirs: float, verdict: str) -> None:
    assert judge([a_round(100, theirs)], 0.05) == verdict


def test_where_requests_failed_figures_are_of_different_requests() -> None:
    rounds = [a_round(100, 100), {**a_round(100, 100), "theirs": replace(BASE, failed=1)}]
    assert judge(rounds, 0.05) == "do not agree"
    assert "They do not agree within 5%. Failed requests of theirs: 1." in markdown([one(rounds)], 0.05)


@pytest.mark.parametrize("theirs", [100, 120])
def test_where_ours_is_far_from_itself_nothing_can_be_told(theirs: float) -> None:
    rounds: list[Round] = [{**a_round(100, theirs), "ours again": replace(BASE, tpot_p50_ms=9.0)}]
    assert judge(rounds, 0.05).startswith("cannot be told")
    assert judge(rounds, 0.25) == "agree"
    assert "Ours is further than 5% from itself" in markdown([one(rounds)], 0.05)


def test_table_and_json_say_the_same() -> None:
    text = markdown([one([a_round(100, 103)])], 0.05)
    assert "| Open loop, 2.5 requests/s, Poisson | ours | theirs | from ours |" in text
    assert "| TTFT p50, ms | 100.0 | 103.0 | +3.0% |" in text
    assert "They agree within 5%." in text
    content = as_json([one([a_round(100, 103)])], 0.05, {"cores": 2})
    assert content["agree"]
    assert content["loads"][0]["verdict"] == "agree"
    assert content["loads"][0]["lines"][0]["differences"] == {"theirs": pytest.approx(0.03)}
    assert content["loads"][0]["work"]["load"] == {"per_s": 2.5}
    assert not as_json([one([a_round(100, 103)])], 0.01, {})["agree"]
