from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from loadtest.agreement.compare import Round, Seen, compare, judge, missing
from loadtest.agreement.figures import Figures
from loadtest.agreement.table import Compared, as_json, head, markdown
from loadtest.agreement.work import Rate, Work

BASE = Figures(100.0, 200.0, 10.0, 10.0, 50.0, 2.0, completed=9, failed=0, version="1")
MACHINE = {"date": "today", "commit": "abc", "processor": "P", "cores": 2, "memory_gib": 24.0, "python": "3.11"}
SERVER = {"url": "http://localhost:1", "version": None, "models": ["m", "n"]}


def one(rounds: Sequence[Round]) -> Compared:
    return Compared(Work("http://localhost:1", "m", Rate(2.5), requests=9), rounds)


def seen(said: float, wire: float = 100.0, **more: Any) -> Seen:
    return Seen(replace(BASE, ttft_p50_ms=said, **more), replace(BASE, ttft_p50_ms=wire))


def a_round(ours: float, theirs: float) -> dict[str, Seen]:
    return {"ours": seen(ours), "theirs": seen(theirs)}


def test_the_server_and_what_else_the_machine_does_cancel_out() -> None:
    """Theirs saw it three times as slow as ours did; both said what there was."""
    line = compare([{"ours": seen(101, 100), "theirs": seen(309, 300)}])[0]
    assert (line.figure, line.medians) == ("ttft_p50_ms", {"ours": 101, "theirs": 309})
    assert line.from_wire == {"ours": pytest.approx(0.01), "theirs": pytest.approx(0.03)}
    assert line.from_ours == {"theirs": pytest.approx(1.03 / 1.01 - 1)}


def test_a_client_that_only_seems_to_agree_does_not() -> None:
    assert judge([{"ours": seen(100, 100), "theirs": seen(100, 80)}], 9, 0.05) == "do not agree"


def test_the_median_of_the_rounds_counts() -> None:
    rounds = [a_round(100, 96), a_round(200, 204), a_round(40, 120)]
    assert compare(rounds)[0].from_ours == {"theirs": pytest.approx(0.02)}
    assert judge(rounds, 9, 0.03) == "agree"
    assert judge(rounds, 9, 0.01) == "do not agree"


@pytest.mark.parametrize(("theirs", "verdict"), [(94, "do not agree"), (96, "agree"), (106, "do not agree")])
def test_more_and_less_are_both_too_far(theirs: float, verdict: str) -> None:
    assert judge([a_round(100, theirs)], 9, 0.05) == verdict


@pytest.mark.parametrize("more", [{"completed": 8, "failed": 1}, {"completed": 8}, {"completed": 10}])
def test_where_not_all_were_answered_figures_are_of_different_requests(more: dict[str, int]) -> None:
    rounds = [a_round(100, 100), {**a_round(100, 100), "theirs": seen(100, **more)}]
    assert missing(rounds, 9) == {"ours": 0, "theirs": 1}
    assert judge(rounds, 9, 0.05) == "do not agree"
    assert "They do not agree within 5%. Not answered of theirs's 18 requests: 1." in markdown([one(rounds)], 0.05)


def test_the_wire_must_have_seen_all_of_them_too() -> None:
    rounds = [{**a_round(100, 100), "theirs": Seen(BASE, replace(BASE, completed=7))}]
    assert missing(rounds, 9) == {"ours": 0, "theirs": 2}
    assert judge(rounds, 9, 0.05) == "do not agree"


@pytest.mark.parametrize("none", [seen(0), seen(100, 0)])
@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_what_is_zero_cannot_be_compared(name: str, none: Seen) -> None:
    rounds = [a_round(100, 100), {**a_round(100, 100), name: none}]
    line = compare(rounds)[0]
    assert line.from_wire[name] is None
    assert line.from_ours == {"theirs": None}
    assert judge(rounds, 9, 0.05) == "do not agree"
    assert " – |" in markdown([one(rounds)], 0.05)


def test_what_ours_says_against_itself_is_told() -> None:
    late = {**a_round(100, 110), "ours": seen(100, doubt="It was late.")}
    assert (
        markdown([one([late, a_round(100, 110)])], 0.05)
        .strip()
        .endswith("They do not agree within 5%. In 1 of 2 rounds ours doubts itself: It was late.")
    )


def test_table_and_json_say_the_same() -> None:
    text = markdown([one([a_round(100, 103)])], 0.05)
    assert "| Open loop, 2.5 requests/s, Poisson | ours | from the wire | theirs | from the wire | from ours |" in text
    assert "| TTFT p50, ms | 100.0 | +0.0% | 103.0 | +3.0% | +3.0% |" in text
    assert "They agree within 5%." in text
    content = as_json([one([a_round(100, 103)])], 0.05, MACHINE, SERVER, {"requests": 9})
    assert content["agree"]
    assert content["loads"][0]["verdict"] == "agree"
    assert content["loads"][0]["lines"][0]["from_ours"] == {"theirs": pytest.approx(0.03)}
    assert content["loads"][0]["rounds"][0]["theirs"]["wire"]["ttft_p50_ms"] == 100
    assert content["loads"][0]["work"]["load"] == {"per_s": 2.5}
    assert not as_json([one([a_round(100, 103)])], 0.01, MACHINE, SERVER, {})["agree"]


def test_the_head_says_where_it_comes_from() -> None:
    assert head(as_json([one([a_round(100, 103)])], 0.05, MACHINE, SERVER, {"requests": 9})).splitlines() == [
        "- today, commit abc",
        "- P, 2 cores, 24.0 GiB, Python 3.11",
        "- server: http://localhost:1, version unknown, m, n",
        "- clients: ours 1, theirs 1",
        "- arguments: requests 9",
    ]
